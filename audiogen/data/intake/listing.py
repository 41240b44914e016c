"""What lies in a folder of sounds: files, metadata, and what its name alone rules out."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from audiogen.audio.io.decoding import AUDIO_SUFFIXES
from audiogen.audio.io.member import Member, Sound, label_of
from audiogen.audio.io.sandbox import run_contained
from audiogen.data.intake.archives import (
    ARCHIVE_SUFFIX,
    MAX_SIDECAR_BYTES,
    OTHER_ARCHIVES,
    SHARD_LIST,
    list_archive,
    parse_caption,
    read_addresses,
    writable,
)
from audiogen.data.intake.naming import describe
from audiogen.data.intake.walk import walk
from audiogen.data.manifest import ManifestRow
from audiogen.data.metadata import METADATA_NAMES, Metadata, parse_metadata, read_metadata

OTHER_AUDIO_SUFFIXES = frozenset(
    {".aac", ".ac3", ".amr", ".ape", ".au", ".caf", ".m4a", ".mka", ".mp4", ".oga", ".opus"}
    | {".w64", ".webm", ".wma", ".wv"}
)


@dataclass
class Listing:
    """What walking the folder found, before any sound is opened; paths are posix, relative.

    Attributes:
        folder: that was walked.
        sounds: where the bytes of each are, by path; those in an archive begin with the archive's.
        told: what is said of each, by path, in tables or beside it.
        refused: rows of what cannot be used.
        others: numbers of other files by suffix.
    """

    folder: Path
    sounds: dict[str, Sound] = field(default_factory=dict)
    told: dict[str, Metadata] = field(default_factory=dict)
    refused: list[ManifestRow] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def described(self) -> dict[str, Metadata]:
        """Return what is known of each sound, by path, in the order of the paths."""
        return {
            path: describe(PurePosixPath(path), self.told[path]) for path in sorted(self.sounds)
        }


def list_files(folder: Path, num_workers: int | None = None, *, own: Path | None = None) -> Listing:
    """Walk the folder (see `walk`), and match its metadata with its files.

    Archives are listed by `num_workers` child processes; None chooses.

    Raises:
        ValueError: metadata or the list of remote archives are broken.
    """
    listing = Listing(folder)
    tables: list[Path] = []
    archives: list[Path | str] = []

    def refuse(path: str, reason: str) -> None:
        listing.refused.append(refused_row(path, reason))

    for here, subfolders, names in walk(folder, own=own, refuse=refuse):
        _sort_names(here.relative_to(folder), subfolders, names, listing)
        archives += [here / name for name in names if name.lower().endswith(ARCHIVE_SUFFIX)]
        tables += [here / table for table in METADATA_NAMES if table in names]
    if (folder / SHARD_LIST).is_file():
        archives += read_addresses(folder / SHARD_LIST)
    contents = run_contained(list_archive, archives, num_workers=num_workers)
    for archive, content in zip(archives, contents, strict=True):
        _add_archive(archive, content, listing)
    by_key = {_key(path): path for path in listing.sounds}
    in_tables: set[str] = set()
    for table in tables:
        _add_table(table, listing, by_key, in_tables)
    return listing


def _sort_names(
    here: Path, subfolders: Sequence[str], names: Sequence[str], listing: Listing
) -> None:
    """Enter what one folder holds: sounds, what is refused by its name alone, and the rest."""
    for name in subfolders:
        if Path(name).suffix.lower() in AUDIO_SUFFIXES:
            listing.refused.append(refused_row((here / name).as_posix(), "not_a_file"))
    for name in names:
        path = (here / name).as_posix()
        suffix = Path(name).suffix.lower()
        if suffix in OTHER_AUDIO_SUFFIXES:
            listing.refused.append(refused_row(path, "unsupported"))
        elif suffix in OTHER_ARCHIVES:
            listing.refused.append(refused_row(path, "bad_archive"))
        elif suffix not in AUDIO_SUFFIXES:
            if suffix != ARCHIVE_SUFFIX:
                listing.others[suffix or name] += 1
        elif path == writable(path):
            _add_file(path, listing)
        else:
            listing.refused.append(refused_row(path, "bad_name"))


def _add_file(path: str, listing: Listing) -> None:
    """Enter a sound with the caption in the `.txt` beside it."""
    sound = listing.folder / path
    try:
        with sound.with_suffix(".txt").open("rb") as file:
            caption = parse_caption(file.read(MAX_SIDECAR_BYTES + 1))
    except FileNotFoundError:
        caption = ""
    except (OSError, ValueError):
        listing.refused.append(refused_row(path, "bad_caption"))
        return
    listing.sounds[path] = sound
    listing.told[path] = Metadata(file=path, prompt=caption)


def _add_archive(archive: Path | str, content: Mapping[str, Any] | str, listing: Listing) -> None:
    """Enter the sounds of an archive, as `list_archive` found them, and what it says of them."""
    if isinstance(archive, Path):
        label = archive.relative_to(listing.folder).as_posix()
    else:
        label = label_of(archive)
    if isinstance(content, str):
        listing.refused.append(refused_row(label, content))
        return
    for name, offset, num_bytes in content["sounds"]:
        path = f"{label}/{name}"
        if path in listing.sounds:
            listing.refused.append(refused_row(path, "repeated_name"))
            continue
        listing.sounds[path] = Member(
            archive=str(archive), name=name, offset=offset, num_bytes=num_bytes
        )
        listing.told[path] = parse_metadata(content["told"][name], path)
    listing.refused += [refused_row(f"{label}/{name}", why) for name, why in content["refused"]]


def _add_table(
    table: Path, listing: Listing, by_key: Mapping[str, str], in_tables: set[str]
) -> None:
    """Enter what the rows of a table say; rows that name no sound are refused.

    Args:
        table: the file.
        listing: of the sounds.
        by_key: their paths by `_key`.
        in_tables: those that a table has spoken of.
    """
    folder = listing.folder
    base = table.parent.relative_to(folder).as_posix()
    refused_before = {_key(row.path) for row in listing.refused}
    for row in read_metadata(table):
        named = PurePosixPath(row.file.replace("\\", "/"))
        if named.is_absolute() and named.is_relative_to(folder.resolve().as_posix()):
            named = named.relative_to(folder.resolve().as_posix())
        elif named.is_absolute() or ".." in named.parts:
            listing.refused.append(refused_row(str(named), "outside"))
            continue
        else:
            named = base / named
        key = _key(named.as_posix())
        path = by_key.get(key)
        if key in in_tables:
            listing.refused.append(refused_row(named.as_posix(), "repeated_row"))
        elif path is not None:
            caption = row.prompt or listing.told[path].prompt
            listing.told[path] = row.model_copy(update={"prompt": caption})
            in_tables.add(key)
        elif key not in refused_before:
            reason = "unsupported" if _exists(folder / named) else "missing"
            listing.refused.append(refused_row(named.as_posix(), reason))


def refused_row(path: str, reason: str) -> ManifestRow:
    """Return the row of a file that is not used."""
    return ManifestRow(path=writable(path), verdict="refused", reason=reason)


def _key(path: str) -> str:
    """Compare names in one Unicode form: macOS decomposes accents, spreadsheets do not."""
    return unicodedata.normalize("NFC", path)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a NUL: no such file can be
        return False
