"""What lies in a folder of sounds: files, metadata, and what its name alone rules out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from audiogen.audio.io.containers import is_sound
from audiogen.audio.io.decoding import AUDIO_SUFFIXES
from audiogen.audio.io.member import Member, Sound, label_of
from audiogen.audio.io.sandbox import run_contained
from audiogen.data.intake.archives import (
    ARCHIVE_SUFFIX,
    SHARD_LIST,
    list_archive,
    read_addresses,
    writable,
)
from audiogen.data.intake.beside import (
    LICENCE_BYTES,
    LICENCE_FILE,
    MAX_SIDECAR_BYTES,
    OwnOutputError,
    by_any_case,
    joined,
    read_sidecar,
    sidecars,
)
from audiogen.data.intake.licences import KINDS
from audiogen.data.intake.naming import describe
from audiogen.data.intake.spdx import spdx
from audiogen.data.intake.walk import walk
from audiogen.data.manifest import ManifestRow
from audiogen.data.metadata import METADATA_NAMES, Metadata, parse_metadata, read_metadata

UNREAD_SUFFIXES: Mapping[str, str] = {  # with the reason that files are refused for
    **dict.fromkeys((".tgz", ".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".rar"), "bad_archive"),
    **dict.fromkeys((".aac", ".ac3", ".amr", ".ape", ".au", ".caf", ".m4a", ".mka"), "unsupported"),
    **dict.fromkeys((".mp4", ".oga", ".opus", ".w64", ".webm", ".wma", ".wv"), "unsupported"),
}

TEXT_LIKE = re.compile(r"\.(csv|tsv|jsonl?|txt|xlsx?|ods|parquet)$", re.I)
README = re.compile(rf"(^|/)(readme[^/]*|{re.escape(SHARD_LIST)})$", re.I)


@dataclass
class Listing:
    """What walking the folder found, before any sound is opened; paths are posix, relative.

    Attributes:
        folder: that was walked.
        label: of sounds that nothing tells one of.
        sounds: where the bytes of each are, by path; those in an archive begin with the archive's.
        told: what is said of each, by path, in tables or beside it.
        refused: rows of what cannot be used.
        others: paths of other files.
        read: those of them that were read.
        licences: of whole folders, by folder.
        caption_from: where the caption of each sound is from, by path.
    """

    folder: Path
    label: str = ""
    sounds: dict[str, Sound] = field(default_factory=dict)
    told: dict[str, Metadata] = field(default_factory=dict)
    refused: list[ManifestRow] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    licences: dict[str, str] = field(default_factory=dict)
    caption_from: dict[str, str] = field(default_factory=dict)

    def described(self) -> dict[str, Metadata]:
        """Return what is known of each sound, by path, in the order of the paths."""
        found = {}
        for path in sorted(self.sounds):
            place, told = PurePosixPath(path), self.told[path]
            if not told.licence:
                around = (self.licences.get(str(parent), "") for parent in place.parents)
                told = told.model_copy(update={"licence": next(filter(None, around), "")})
            found[path] = describe(place, told, self.label)
            if describe(place, told).prompt:
                self.caption_from.setdefault(path, "the name of its folder or its own")
            elif self.label:
                self.caption_from[path] = "data.label"
        return found

    def unread(self) -> list[str]:
        """Return the files that look like tables or captions, and were not read."""
        return [
            name
            for name in self.others
            if name not in self.read and TEXT_LIKE.search(name) and not README.search(name)
        ]

    def name_of(self, file: Path) -> str:
        """Return the path of a file."""
        return file.relative_to(self.folder).as_posix()

    def refuse(self, path: str, reason: str) -> None:
        """Enter what cannot be used."""
        self.refused.append(refused_row(path, reason))


def refused_row(path: str, reason: str) -> ManifestRow:
    """Return the row of a file that is not used."""
    return ManifestRow(path=writable(path), verdict="refused", reason=reason)


def list_files(
    folder: Path, num_workers: int | None = None, *, own: Path | None = None, label: str = ""
) -> Listing:
    """Walk the folder (see `walk`), and match its metadata with its files.

    Archives are listed by `num_workers` child processes; None chooses.

    Raises:
        ValueError: metadata or the list of remote archives are broken.
    """
    listing = Listing(folder, label=label)
    sounds: list[str] = []
    tables: list[Path] = []
    archives: list[Path | str] = []
    for file in _files(listing, own):
        name, suffix = listing.name_of(file), file.suffix.lower()
        if suffix in AUDIO_SUFFIXES or (not suffix and is_sound(file)):
            sounds.append(name)
        elif suffix == ARCHIVE_SUFFIX:
            archives.append(file)
        elif suffix in UNREAD_SUFFIXES:
            listing.refuse(name, UNREAD_SUFFIXES[suffix])
        elif file.name.lower() in METADATA_NAMES:
            tables.append(file)
        else:
            listing.others.append(name)
    names = by_any_case(listing.others)
    for sound in sounds:
        _add_file(sound, sidecars(sound, names), listing)
    listing.licences = _licences(listing)
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


def _add_file(path: str, beside: Sequence[str], listing: Listing) -> None:
    """Enter a sound with what the files beside it say."""
    if path != writable(path):
        listing.refuse(path, "bad_name")
        return
    told = Metadata(file=path)
    for name in beside:
        listing.read.add(name)
        try:
            with (listing.folder / name).open("rb") as file:
                told = joined(told, read_sidecar(name, file.read(MAX_SIDECAR_BYTES + 1)))
        except OwnOutputError:
            listing.refuse(path, "own_output")
            return
        except (OSError, ValueError):
            listing.refuse(path, "bad_caption")
            return
    listing.sounds[path] = listing.folder / path
    listing.told[path] = told
    if told.prompt:
        listing.caption_from[path] = "a file beside it"


def _licences(listing: Listing) -> dict[str, str]:
    """Licences that whole folders have, by folder: what a file called LICENSE or the like says."""
    found = {}
    for name in sorted(listing.others):
        if LICENCE_FILE.match(PurePosixPath(name).name):
            listing.read.add(name)
            with (listing.folder / name).open("rb") as file:
                text = file.read(LICENCE_BYTES).decode(errors="replace")
            found[str(PurePosixPath(name).parent)] = _named_licence(text, name)
    return found


def _named_licence(text: str, name: str) -> str:
    """The licence that the beginning of a file names, or the file, for whoever has to read it."""
    said = spdx(text.strip().partition("\n")[0])
    return said if said in KINDS else f"see {name}"


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
        if listing.told[path].prompt:
            listing.caption_from[path] = "a file beside it"
    for name, reason in content["refused"]:
        listing.refuse(f"{label}/{name}", reason)
    for name, text in content["licences"].items():
        place = PurePosixPath(f"{label}/{name}")
        listing.licences[str(place.parent)] = _named_licence(text, str(place))
    for name in content["others"]:
        reason = UNREAD_SUFFIXES.get(PurePosixPath(name).suffix.lower(), "")
        if reason:
            listing.refuse(f"{label}/{name}", reason)
        else:
            listing.others.append(f"{label}/{name}")


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
            listing.told[path] = joined(row, listing.told[path])
            if row.prompt:
                listing.caption_from[path] = "a table"
            in_tables.add(key)
        elif key not in refused_before:
            listing.refuse(named, "unsupported" if path else "missing")


def _key(path: str) -> str:
    """Compare names in one Unicode form: macOS decomposes accents, spreadsheets do not."""
    return unicodedata.normalize("NFC", path)
