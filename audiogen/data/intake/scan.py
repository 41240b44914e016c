"""Intake: look at every file of a folder once, and say what is used, what is not, and why."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from audiogen.audio.io.decoding import AUDIO_SUFFIXES, REASONS
from audiogen.audio.io.member import Member, is_remote
from audiogen.audio.io.sandbox import run_contained
from audiogen.audio.measure.fingerprint import NO_WORDS, Words
from audiogen.audio.measure.inspection import SILENT_SWING, WARNINGS, facts_of, inspect_file
from audiogen.data.intake.copies import COPY_WARNINGS, mark_copies
from audiogen.data.intake.held_out import merge_copies, split_by_source
from audiogen.data.intake.licences import LICENCE_REASONS, LicenceTerms, apply_policy
from audiogen.data.intake.listing import Listing, list_files, refused_row
from audiogen.data.manifest import ManifestRow
from audiogen.data.metadata import Metadata
from audiogen.pages.markup import duration
from audiogen.trees import did_you_mean
from audiogen.trees import listing as on_one_line

SUFFIXES = " ".join(sorted(AUDIO_SUFFIXES))
MIN_SECONDS = 0.01
MAX_LABEL_LINES = 60
MAX_WARNED_PATHS = 20
FEW_CLIPS, FEW_SECONDS = 8, 60.0
"""A label with fewer of both is learned by heart, if at all."""
LEAST_HELD_OUT, LEAST_TRAINING = 2, 3
"""Clips without which there is no distance between takes and real sounds."""
INTAKE_REASONS: Mapping[str, str] = {
    **REASONS,
    **LICENCE_REASONS,
    "silent": "nothing but silence or a constant, below -80 dBFS",
    "too_short": f"shorter than {MIN_SECONDS * 1000:g} ms",
    "unsupported": "a format that is not read; convert it to WAV or FLAC",
    "unreadable_folder": "the folder cannot be opened",
    "own_output": "audiogen wrote it (a run, model or pack, or a JSON file beside it says so);"
    " nothing is learnt from it",
    "outside": "a path outside the data folder, in metadata or in an archive",
    "repeated_name": "the archive has an earlier file of this name, which is used",
    "repeated_row": "the metadata have an earlier row for this file, which is used",
    "bad_caption": "the .txt or .json beside it is not a short UTF-8 text or record",
    "bad_name": "the file name is not valid UTF-8",
}
INTAKE_WARNINGS: Mapping[str, str] = {**WARNINGS, **COPY_WARNINGS}

_log = logging.getLogger(__name__)


def scan_folder(
    folder: Path,
    *,
    held_out: float = 0.2,
    seed: int = 0,
    terms: LicenceTerms | None = None,
    num_workers: int | None = None,
    allow_none: bool = False,
    own: Path | None = None,
    label: str = "",
) -> list[ManifestRow]:
    """Look at every sound below a folder.

    Hidden files and folders (".name", as macOS leaves them beside every file) are ignored. Each
    other file that looks like a sound, and each metadata row, ends in a row, used or refused.
    Files are decoded in child processes with limits (see `sandbox`). Captions and labels: see
    `naming.describe`; the split: see `held_out.split_by_source`.

    Args:
        folder: WAV, FLAC, Ogg, MP3 and AIFF files, in folders of any depth, in tar archives, and
            in archives elsewhere that its `shards.txt` lists; see `archives`.
        held_out: share of each label's files kept from training, 0 to below 1.
        seed: of the choice.
        terms: licences that are allowed; None asks for none.
        num_workers: child processes; None chooses. The rows do not depend on it.
        own: the run that asks, which may lie in the folder and is left out.
        label: of sounds that nothing tells one of.
        allow_none: return the refused rows when nothing is usable, instead of raising.

    Returns:
        rows in the order of their paths; the same for the same files.

    Raises:
        ValueError: if the folder is missing, nothing in it is usable or allowed, its metadata are
            broken, or the split in them puts one recording on both sides.
    """
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out is a share from 0 to below 1, got {held_out}.")
    if not folder.is_dir():
        state = "is not a folder" if folder.exists() else "does not exist"
        raise ValueError(
            f"{folder} {state}{did_you_mean(folder)}\n  give a folder of sounds ({SUFFIXES})"
        )
    listing = list_files(folder, num_workers, own=own, label=label)
    _report_others(listing)
    looked_at = list(_look_at(listing, num_workers))
    used = [(row, words) for row, words in looked_at if row.verdict == "used"]
    refused = listing.refused + [row for row, _ in looked_at if row.verdict == "refused"]
    if not used and not allow_none:
        raise ValueError(_nothing_usable(folder, refused, listing.others))
    merged = merge_copies(mark_copies([row for row, _ in used], [words for _, words in used]))
    judged = merged if terms is None else apply_policy(merged, terms, folder)
    refused += [row for row in judged if row.verdict == "refused"]
    left = [row for row in judged if row.verdict == "used"]
    rows = split_by_source(left, held_out=held_out, seed=seed) + refused
    return sorted(rows, key=lambda row: (row.path, row.verdict))


def _report_others(listing: Listing) -> None:
    """Log the files that are no sounds: how many, and which look as if they were meant."""
    unread = listing.unread()
    if unread:
        text = "not read, though they look like tables or captions: %s"
        _log.warning(text, on_one_line([_printable(name) for name in unread]))
    others = Counter(PurePosixPath(name).suffix or name for name in listing.others)
    if others:
        counts = [f"{count} {suffix}" for suffix, count in others.most_common()]
        _log.info("other files: %s", on_one_line(counts))


def summarise(rows: Sequence[ManifestRow]) -> str:
    """Say in aligned plain text what is used and what is refused, with every refused file."""
    used = [row for row in rows if row.verdict == "used"]
    refused = [row for row in rows if row.verdict == "refused"]
    sides = Counter(row.split for row in used)
    length = duration(sum(row.seconds for row in used))
    lines = [
        f"used     {len(used):>6}  {length}, "
        f"{sides['train']} to train on, {sides['held_out']} held out",
        f"refused  {len(refused):>6}",
    ]
    if used:
        origins = Counter(row.caption_from or "nowhere: they have none" for row in used)
        lines += [f"captions {count:>6}  from {origin}" for origin, count in origins.most_common()]
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
    lines += _too_little(used)
    for reason in sorted({row.reason for row in refused}):
        paths = [row.path for row in refused if row.reason == reason]
        lines += ["", f"refused, {reason}: {INTAKE_REASONS.get(reason, 'see the manifest')}"]
        lines += [f"  {_printable(path)}" for path in paths]
    return "\n".join([*lines, *_warning_lines(used)])


def _too_little(used: Sequence[ManifestRow]) -> list[str]:
    """Say what is missing later where little or nothing is held out, or little is learned from."""
    held = sum(row.split == "held_out" for row in used)
    lines: list[str] = []
    if used and not held:
        lines += [
            "",
            "nothing is held out at all: training works, but the report will have no metrics of",
            "held-out sounds and no distance of takes to them; to have these, add recordings",
        ]
    elif used and (held < LEAST_HELD_OUT or len(used) - held < LEAST_TRAINING):
        lines += [
            "",
            f"{held} held out and {len(used) - held} to train on: too few for a distance of takes"
            " to real sounds;",
            f"the report has one from {LEAST_HELD_OUT} and {LEAST_TRAINING} clips on",
        ]
    few = []
    for label in sorted({row.label for row in used}):
        learnt = [row for row in used if row.label == label and row.split != "held_out"]
        seconds = sum(row.seconds for row in learnt)
        if len(learnt) < 2 or (len(learnt) < FEW_CLIPS and seconds < FEW_SECONDS):
            name = _printable(label) or "(no label)"
            clips = f"{len(learnt)} clip{'s' * (len(learnt) != 1)}"
            few.append(f"  {name}: {clips}, {duration(seconds)}")
    if few:
        lines += ["", f"too few clips to learn more than copies from, add some: {len(few)}"]
        lines += few[:MAX_WARNED_PATHS]
        if len(few) > MAX_WARNED_PATHS:
            lines.append(f"  ... and {len(few) - MAX_WARNED_PATHS} more labels")
    return lines


def _warning_lines(used: Sequence[ManifestRow]) -> list[str]:
    """List the used files of each warning, the first of them only when they are many."""
    lines: list[str] = []
    for warning, meaning in INTAKE_WARNINGS.items():
        rows = [row for row in used if warning in row.warnings]
        if not rows:
            continue
        lines += ["", f"used, but {warning}: {meaning} ({len(rows)})"]
        for row in rows[:MAX_WARNED_PATHS]:
            of = f"  of {_printable(row.copy_of)}" if warning in COPY_WARNINGS else ""
            lines.append(f"  {_printable(row.path)}{of}")
        if len(rows) > MAX_WARNED_PATHS:
            lines.append(f"  ... and {len(rows) - MAX_WARNED_PATHS} more, in the manifest")
    return lines


def _look_at(listing: Listing, num_workers: int | None) -> Iterator[tuple[ManifestRow, Words]]:
    """Decode the sounds; yield their rows, used or refused, and their fingerprints."""
    known = listing.described()
    sounds = [listing.sounds[path] for path in known]
    results = run_contained(inspect_file, sounds, num_workers=num_workers)
    for told, sound, path, result in zip(known.values(), sounds, known, results, strict=True):
        row, words = _row(path, result, told, listing.caption_from.get(path, ""))
        if isinstance(sound, Member):
            is_here = not is_remote(sound.archive)
            archive = path.removesuffix(f"/{sound.name}") if is_here else sound.archive
            row = replace(row, archive=archive, offset=sound.offset, num_bytes=sound.num_bytes)
        yield row, words


def _row(
    path: str, result: Mapping[str, Any] | str, told: Metadata, caption_from: str
) -> tuple[ManifestRow, Words]:
    """Return the row of one file, used or refused, and its fingerprint."""
    if isinstance(result, str):
        return refused_row(path, result), NO_WORDS
    try:
        facts = facts_of(result)
    except (KeyError, TypeError, ValueError):  # a file took over the process that decoded it
        return refused_row(path, "decoder_crashed"), NO_WORDS
    if facts.seconds < MIN_SECONDS:
        return refused_row(path, "too_short"), NO_WORDS
    if facts.swing < SILENT_SWING:
        return refused_row(path, "silent"), NO_WORDS
    row = ManifestRow(
        path=path,
        sha256=str(result["sha256"]),
        seconds=facts.seconds,
        sample_rate=facts.sample_rate,
        channels=facts.channels,
        warnings=facts.warnings,
        caption_from=caption_from,
        **told.model_dump(exclude={"file", "fold"}),
    )
    return row, facts.fingerprint


def _nothing_usable(folder: Path, refused: Sequence[ManifestRow], others: Sequence[str]) -> str:
    kinds = Counter(PurePosixPath(path).suffix or path for path in others)
    found = [f"{count} {kind}" for kind, count in kinds.most_common(5)]
    lines = [
        f"{folder} holds no usable sound.",
        f"Looked for {SUFFIXES} in it and below; other files: {', '.join(found) or 'none'}.",
    ]
    if refused:
        reasons = Counter(row.reason for row in refused).most_common(4)
        counts = ", ".join(f"{count} {reason}" for reason, count in reasons)
        first = refused[0]
        lines.append(
            f"Refused: {counts}; first {_printable(first.path)} ({INTAKE_REASONS[first.reason]})."
        )
    return "\n".join(lines)


def _label_table(used: Sequence[ManifestRow]) -> list[str]:
    counts = Counter(row.label for row in used)
    shown = [label for label, _ in counts.most_common(MAX_LABEL_LINES)]
    cells: list[tuple[str, ...]] = [("label", "files", "duration", "train", "held out", "sources")]
    for label in sorted(shown):
        rows = [row for row in used if row.label == label]
        held = sum(row.split == "held_out" for row in rows)
        sources = len({row.source_id for row in rows})
        length = duration(sum(row.seconds for row in rows))
        numbers = (len(rows), length, len(rows) - held, held, sources)
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
    first, *others = (max(map(len, column)) for column in zip(*cells, strict=True))
    template = "  ".join([f"{{:<{first}}}", *(f"{{:>{width}}}" for width in others)])
    return [template.format(*row) for row in cells]


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
