"""Intake: look at every file of a folder once, and say what is used, what is not, and why."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from audiogen.audio.files import AUDIO_SUFFIXES, REASONS, AudioReadError, measure_audio
from audiogen.data.captions import METADATA_NAMES, describe, read_metadata, read_sidecar
from audiogen.data.licences import LICENCE_REASONS
from audiogen.data.manifest import ManifestRow
from audiogen.data.split import merge_copies, split_by_source
from audiogen.storage import sha256_file

SILENT_SWING = 1e-4  # -80 dBFS: dither and hum of an open input, not a sound
MIN_SECONDS = 0.01
OTHER_AUDIO_SUFFIXES = frozenset(
    {".aac", ".ac3", ".amr", ".ape", ".au", ".caf", ".m4a", ".mka", ".mp4", ".oga", ".opus"}
    | {".w64", ".webm", ".wma", ".wv"}
)
MAX_LABEL_LINES = 60

INTAKE_REASONS: Mapping[str, str] = {
    **REASONS,
    **LICENCE_REASONS,
    "silent": "nothing but silence or a constant, below -80 dBFS",
    "too_short": f"shorter than {MIN_SECONDS * 1000:g} ms",
    "unsupported": "a format that is not read; convert it to WAV or FLAC",
    "unreadable_folder": "the folder cannot be opened",
    "outside": "the metadata name a path outside the data folder",
    "repeated_row": "the metadata have an earlier row for this file, which is used",
    "bad_caption": "the .txt beside it is not a short UTF-8 text",
    "bad_name": "the file name is not valid UTF-8",
}


@dataclass
class _Listing:
    """What walking the folder found, before any sound is opened; paths are posix, relative."""

    sounds: list[str] = field(default_factory=list)
    refused: list[ManifestRow] = field(default_factory=list)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)


def scan_folder(folder: Path, *, held_out: float = 0.2, seed: int = 0) -> list[ManifestRow]:
    """Look at every sound below a folder.

    Hidden files and folders (".name", as macOS leaves them beside every file) are ignored. Each
    other file that looks like a sound, and each metadata row, ends in a row, used or refused.
    Captions and labels: see `captions.describe`; the split: see `split.split_by_source`.

    Args:
        folder: WAV, FLAC, Ogg, MP3 and AIFF files, in folders of any depth.
        held_out: share of each label's files kept from training, 0 to below 1.
        seed: of the choice.

    Returns:
        rows in the order of their paths; the same for the same files.

    Raises:
        ValueError: if the folder is missing, nothing in it is usable, or its metadata are broken.
    """
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out is a share from 0 to below 1, got {held_out}.")
    if not folder.is_dir():
        state = "is not a folder" if folder.exists() else "does not exist"
        raise ValueError(f"{folder} {state}; give a folder of sounds ({_suffixes()}).")
    listing = _list_files(folder)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        looked_at = list(
            pool.map(lambda path: _look_at(folder, path, _entry(listing, path)), listing.sounds)
        )
    used = merge_copies([row for row in looked_at if row.verdict == "used"])
    refused = listing.refused + [row for row in looked_at if row.verdict == "refused"]
    if not used:
        raise ValueError(_nothing_usable(folder, refused, listing.others))
    rows = split_by_source(used, held_out=held_out, seed=seed) + refused
    return sorted(rows, key=lambda row: (row.path, row.verdict))


def summarise(rows: Sequence[ManifestRow]) -> str:
    """Say in aligned plain text what is used and what is refused, with every refused file."""
    used = [row for row in rows if row.verdict == "used"]
    refused = [row for row in rows if row.verdict == "refused"]
    sides = Counter(row.split for row in used)
    lines = [
        f"used     {len(used):>6}  {_duration(used)}, "
        f"{sides['train']} to train on, {sides['held_out']} held out",
        f"refused  {len(refused):>6}",
    ]
    if used:
        lines += ["", *_label_table(used), "", *_licence_table(used)]
    alone = sorted(
        {row.label for row in used} - {row.label for row in used if row.split == "held_out"}
    )
    if alone:
        names = ", ".join(name or "(no label)" for name in alone[:5])
        more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
        lines += [
            "",
            f"nothing held out for {names}{more}: a label needs two sources;",
            "a source_id column in metadata.csv says which files are different recordings",
        ]
    for reason in sorted({row.reason for row in refused}):
        paths = [row.path for row in refused if row.reason == reason]
        lines += ["", f"refused, {reason}: {INTAKE_REASONS.get(reason, 'see the manifest')}"]
        lines += [f"  {_printable(path)}" for path in paths]
    return "\n".join(lines)


def _list_files(folder: Path) -> _Listing:
    """Walk the folder, following links but no loop, and match its metadata with its files."""
    listing = _Listing()
    tables: list[Path] = []
    seen: set[tuple[int, int]] = set()

    def unreadable(error: OSError) -> None:
        name = Path(error.filename).relative_to(folder).as_posix()
        listing.refused.append(_refused(name, "unreadable_folder"))

    for name, subfolders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        here = Path(name)
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(sub for sub in subfolders if not sub.startswith("."))
        names = sorted(name for name in files if not name.startswith("."))
        _sort_names(here.relative_to(folder), subfolders, names, listing)
        tables += [here / table for table in METADATA_NAMES if table in names]
    for table in tables:
        _match_metadata(folder, table, listing)
    return listing


def _sort_names(
    here: Path, subfolders: Sequence[str], names: Sequence[str], listing: _Listing
) -> None:
    """Enter what one folder holds: sounds, what is refused by its name alone, and the rest."""
    for name in subfolders:
        if Path(name).suffix.lower() in AUDIO_SUFFIXES:
            listing.refused.append(_refused((here / name).as_posix(), "not_a_file"))
    for name in names:
        path = (here / name).as_posix()
        suffix = Path(name).suffix.lower()
        if suffix in OTHER_AUDIO_SUFFIXES:
            listing.refused.append(_refused(path, "unsupported"))
        elif suffix not in AUDIO_SUFFIXES:
            listing.others[suffix or name] += 1
        elif path == _writable(path):
            listing.sounds.append(path)
        else:
            listing.refused.append(_refused(path, "bad_name"))


def _match_metadata(folder: Path, table: Path, listing: _Listing) -> None:
    """Put a table's rows into `listing.metadata`; rows that name no sound are refused."""
    known = {_key(path) for path in listing.sounds}
    base = table.parent.relative_to(folder).as_posix()
    refused_before = {_key(row.path) for row in listing.refused}
    for entry in read_metadata(table):
        named = PurePosixPath(entry.pop("file").replace("\\", "/"))
        if named.is_absolute() and named.is_relative_to(folder.resolve().as_posix()):
            named = named.relative_to(folder.resolve().as_posix())
        elif named.is_absolute() or ".." in named.parts:
            listing.refused.append(_refused(str(named), "outside"))
            continue
        else:
            named = base / named
        key = _key(named.as_posix())
        if key in listing.metadata:
            listing.refused.append(_refused(named.as_posix(), "repeated_row"))
        elif key in known:
            listing.metadata[key] = entry
        elif key not in refused_before:
            reason = "unsupported" if _exists(folder / named) else "missing"
            listing.refused.append(_refused(named.as_posix(), reason))


def _look_at(folder: Path, path: str, entry: Mapping[str, str]) -> ManifestRow:
    """Decode one file and describe it; whatever is wrong with it becomes a refused row."""
    sound = folder / path
    try:
        sidecar = read_sidecar(sound.with_suffix(".txt"))
    except ValueError:
        return _refused(path, "bad_caption")
    known = asdict(describe(PurePosixPath(path), entry, sidecar))
    try:
        facts = measure_audio(sound)
        digest = sha256_file(sound)
    except AudioReadError as error:
        return _refused(path, error.reason)
    except OSError:
        return _refused(path, "unreadable")
    if facts.seconds < MIN_SECONDS:
        return _refused(path, "too_short")
    if facts.swing < SILENT_SWING:
        return _refused(path, "silent")
    return ManifestRow(
        path=path,
        sha256=digest,
        seconds=facts.seconds,
        sample_rate=facts.sample_rate,
        channels=facts.channels,
        **known,
    )


def _refused(path: str, reason: str) -> ManifestRow:
    return ManifestRow(path=_writable(path), verdict="refused", reason=reason)


def _entry(listing: _Listing, path: str) -> Mapping[str, str]:
    return listing.metadata.get(_key(path), {})


def _key(path: str) -> str:
    """Compare names in one Unicode form: macOS decomposes accents, spreadsheets do not."""
    return unicodedata.normalize("NFC", path)


def _writable(name: str) -> str:
    """Replace what UTF-8 cannot hold: names on disk may be any bytes."""
    return name.encode("utf-8", "replace").decode("utf-8")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a NUL: no such file can be
        return False


def _suffixes() -> str:
    return " ".join(sorted(AUDIO_SUFFIXES))


def _nothing_usable(folder: Path, refused: Sequence[ManifestRow], others: Counter[str]) -> str:
    found = [f"{count} {suffix}" for suffix, count in others.most_common(5)]
    lines = [
        f"{folder} holds no usable sound.",
        f"Looked for {_suffixes()} in it and below; other files: {', '.join(found) or 'none'}.",
    ]
    if refused:
        reasons = Counter(row.reason for row in refused).most_common(4)
        counts = ", ".join(f"{count} {reason}" for reason, count in reasons)
        first = refused[0]
        lines.append(
            f"Refused: {counts}; first {_printable(first.path)} ({INTAKE_REASONS[first.reason]})."
        )
    return "\n".join(lines)


def _duration(rows: Iterable[ManifestRow]) -> str:
    seconds = sum(row.seconds for row in rows)
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{int(seconds / 60)} min {int(seconds % 60):02d} s"
    return f"{seconds / 3600:.1f} h"


def _label_table(used: Sequence[ManifestRow]) -> list[str]:
    counts = Counter(row.label for row in used)
    shown = [label for label, _ in counts.most_common(MAX_LABEL_LINES)]
    cells: list[tuple[str, ...]] = [("label", "files", "duration", "train", "held out", "sources")]
    for label in sorted(shown):
        rows = [row for row in used if row.label == label]
        held = sum(row.split == "held_out" for row in rows)
        sources = len({row.source_id for row in rows})
        numbers = (len(rows), _duration(rows), len(rows) - held, held, sources)
        cells.append((_printable(label) or "(no label)", *map(str, numbers)))
    lines = _aligned(cells)
    if len(counts) > len(shown):
        lines.append(f"... and {len(counts) - len(shown)} labels with fewer files")
    return lines


def _licence_table(used: Sequence[ManifestRow]) -> list[str]:
    counts = Counter(_printable(row.licence) or "(not given)" for row in used)
    return _aligned([("licence", "files"), *((name, str(n)) for name, n in counts.most_common())])


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Lay out rows of cells: the first column to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
