"""What lies in a folder of sounds: files, metadata, and what its name alone rules out."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from audiogen.audio.io.decoding import AUDIO_SUFFIXES
from audiogen.audio.io.member import Member, Sound, label_of
from audiogen.audio.io.sandbox import run_contained
from audiogen.data.intake.archives import (
    ARCHIVE_SUFFIX,
    MAX_SIDECAR_BYTES,
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

UNREAD_SUFFIXES: Mapping[str, str] = {  # with the reason that files are refused for
    **dict.fromkeys((".tgz", ".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".rar"), "bad_archive"),
    **dict.fromkeys((".aac", ".ac3", ".amr", ".ape", ".au", ".caf", ".m4a", ".mka"), "unsupported"),
    **dict.fromkeys((".mp4", ".oga", ".opus", ".w64", ".webm", ".wma", ".wv"), "unsupported"),
}


@dataclass
class Listing:
    """What walking the folder found, before any sound is opened; paths are posix, relative.

    Attributes:
        folder: that was walked.
        sounds: where the bytes of each are, by path; those in an archive begin with the archive's.
        told: what is said of each, by path, in tables or beside it.
        refused: rows of what cannot be used.
        others: paths of other files.
    """

    folder: Path
    sounds: dict[str, Sound] = field(default_factory=dict)
    told: dict[str, Metadata] = field(default_factory=dict)
    refused: list[ManifestRow] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def described(self) -> dict[str, Metadata]:
        """Return what is known of each sound, by path, in the order of the paths."""
        return {
            path: describe(PurePosixPath(path), self.told[path]) for path in sorted(self.sounds)
        }

    def name_of(self, file: Path) -> str:
        """Return the path of a file."""
        return file.relative_to(self.folder).as_posix()

    def refuse(self, path: str, reason: str) -> None:
        """Enter what cannot be used."""
        self.refused.append(refused_row(path, reason))


def refused_row(path: str, reason: str) -> ManifestRow:
    """Return the row of a file that is not used."""
    return ManifestRow(path=writable(path), verdict="refused", reason=reason)


def list_files(folder: Path, num_workers: int | None = None, *, own: Path | None = None) -> Listing:
    """Walk the folder (see `walk`), and match its metadata with its files.

    Archives are listed by `num_workers` child processes; None chooses.

    Raises:
        ValueError: metadata or the list of remote archives are broken.
    """
    listing = Listing(folder)
    tables: list[Path] = []
    archives: list[Path | str] = []
    for file in _files(listing, own):
        suffix = file.suffix.lower()
        if suffix in AUDIO_SUFFIXES:
            _add_file(file, listing)
        elif suffix == ARCHIVE_SUFFIX:
            archives.append(file)
        elif suffix in UNREAD_SUFFIXES:
            listing.refuse(listing.name_of(file), UNREAD_SUFFIXES[suffix])
        elif file.name in METADATA_NAMES:
            tables.append(file)
        else:
            listing.others.append(listing.name_of(file))
    if (folder / SHARD_LIST).is_file():
        archives += read_addresses(folder / SHARD_LIST)
    contents = run_contained(list_archive, archives, num_workers=num_workers)
    for archive, content in zip(archives, contents, strict=True):
        _add_archive(archive, content, listing)
    by_key = {_key(path): path for path in (*listing.others, *listing.sounds)}
    in_tables: set[str] = set()
    for table in tables:
        _add_table(table, listing, by_key, in_tables)
    return listing


def _files(listing: Listing, own: Path | None) -> Iterator[Path]:
    """Yield the files; enter folders that cannot be opened, or are called as sounds are."""
    for here, subfolders, names in walk(listing.folder, own=own, refuse=listing.refuse):
        for folder in (here / name for name in subfolders):
            if folder.suffix.lower() in AUDIO_SUFFIXES:
                listing.refuse(listing.name_of(folder), "not_a_file")
        yield from (here / name for name in names)


def _add_file(sound: Path, listing: Listing) -> None:
    """Enter a sound with the caption in the `.txt` beside it."""
    path = listing.name_of(sound)
    if path != writable(path):
        listing.refuse(path, "bad_name")
        return
    try:
        with sound.with_suffix(".txt").open("rb") as file:
            caption = parse_caption(file.read(MAX_SIDECAR_BYTES + 1))
    except FileNotFoundError:
        caption = ""
    except (OSError, ValueError):
        listing.refuse(path, "bad_caption")
        return
    listing.sounds[path] = sound
    listing.told[path] = Metadata(file=path, prompt=caption)


def _add_archive(archive: Path | str, content: Mapping[str, Any] | str, listing: Listing) -> None:
    """Enter the sounds of an archive, as `list_archive` found them, and what it says of them."""
    label = listing.name_of(archive) if isinstance(archive, Path) else label_of(archive)
    if isinstance(content, str):
        listing.refuse(label, content)
        return
    for name, offset, num_bytes in content["sounds"]:
        path = f"{label}/{name}"
        if path in listing.sounds:
            listing.refuse(path, "repeated_name")
            continue
        listing.sounds[path] = Member(
            archive=str(archive), name=name, offset=offset, num_bytes=num_bytes
        )
        listing.told[path] = parse_metadata(content["told"][name], path)
    for name, reason in content["refused"]:
        listing.refuse(f"{label}/{name}", reason)


def _add_table(
    table: Path, listing: Listing, by_key: Mapping[str, str], in_tables: set[str]
) -> None:
    """Enter what the rows of a table say of sounds that none has spoken of; refuse other rows."""
    home = listing.folder.resolve()
    refused_before = {_key(row.path) for row in listing.refused}
    for row in read_metadata(table):
        place = home / listing.name_of(table.parent) / row.file.replace("\\", "/")
        if ".." in place.parts or not place.is_relative_to(home):
            listing.refuse(row.file, "outside")
            continue
        named = place.relative_to(home).as_posix()
        key = _key(named)
        path = by_key.get(key, "")
        if key in in_tables:
            listing.refuse(named, "repeated_row")
        elif path in listing.sounds:
            caption = row.prompt or listing.told[path].prompt
            listing.told[path] = row.model_copy(update={"prompt": caption})
            in_tables.add(key)
        elif key not in refused_before:
            listing.refuse(named, "unsupported" if path else "missing")


def _key(path: str) -> str:
    """Compare names in one Unicode form: macOS decomposes accents, spreadsheets do not."""
    return unicodedata.normalize("NFC", path)
