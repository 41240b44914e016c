"""What lies in a folder of sounds: files, metadata, and what its name alone rules out."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from audiogen.audio.io.decoding import AUDIO_SUFFIXES
from audiogen.audio.io.member import Member, Sound, is_remote, label_of
from audiogen.audio.io.sandbox import Failure, run_contained
from audiogen.data.intake.captions import METADATA_NAMES, read_metadata, read_sidecar
from audiogen.data.loading.archives import (
    ARCHIVE_SUFFIX,
    OTHER_ARCHIVES,
    SHARD_LIST,
    list_archive,
    read_addresses,
)
from audiogen.data.manifest import ManifestRow

OTHER_AUDIO_SUFFIXES = frozenset(
    {".aac", ".ac3", ".amr", ".ape", ".au", ".caf", ".m4a", ".mka", ".mp4", ".oga", ".opus"}
    | {".w64", ".webm", ".wma", ".wv"}
)


@dataclass
class Listing:
    """What walking the folder found, before any sound is opened; paths are posix, relative.

    Attributes:
        folder: that was walked.
        sounds: paths; those in an archive begin with the archive's.
        refused: rows of what cannot be used.
        metadata: of sounds, from tables, by `_key` of their paths.
        others: numbers of other files by suffix.
        members: where in which archive a sound is, by its path.
        captions: of sounds in archives, by their paths.
        records: of sounds in archives, what the JSON beside them says, as `metadata`.
    """

    folder: Path
    sounds: list[str] = field(default_factory=list)
    refused: list[ManifestRow] = field(default_factory=list)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    members: dict[str, Member] = field(default_factory=dict)
    captions: dict[str, str] = field(default_factory=dict)
    records: dict[str, dict[str, str]] = field(default_factory=dict)

    def place(self, path: str) -> Mapping[str, Any]:
        """Where a sound is, by the fields of `ManifestRow`; empty for a file of its own."""
        member = self.members.get(path)
        if member is None:
            return {}
        archive = member.archive
        if not is_remote(archive):
            archive = Path(archive).relative_to(self.folder).as_posix()
        return {"archive": archive, "offset": member.offset, "num_bytes": member.num_bytes}

    def sound(self, path: str) -> Sound:
        """Where a sound's bytes are."""
        return self.members.get(path) or self.folder / path

    def caption(self, path: str) -> str:
        """Return the text of the `.txt` beside a sound; ValueError when it is no short text."""
        if path in self.members:
            return self.captions.get(path, "")
        return read_sidecar((self.folder / path).with_suffix(".txt"))

    def entry(self, path: str) -> Mapping[str, str]:
        """Return what the metadata say of a sound; empty if nothing."""
        key = _key(path)
        return self.metadata.get(key) or self.records.get(key, {})


def list_files(folder: Path, num_workers: int | None = None) -> Listing:
    """Walk the folder, following links but no loop, and match its metadata with its files.

    Archives are listed by `num_workers` child processes; None chooses.

    Raises:
        ValueError: metadata or the list of remote archives are broken.
    """
    listing = Listing(folder)
    tables: list[Path] = []
    archives: list[Path | str] = []
    seen: set[tuple[int, int]] = set()

    def unreadable(error: OSError) -> None:
        name = Path(error.filename).relative_to(folder).as_posix()
        listing.refused.append(refused_row(name, "unreadable_folder"))

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
        archives += [here / name for name in names if name.lower().endswith(ARCHIVE_SUFFIX)]
        tables += [here / table for table in METADATA_NAMES if table in names]
    if (folder / SHARD_LIST).is_file():
        archives += read_addresses(folder / SHARD_LIST)
    contents = run_contained(list_archive, archives, num_workers=num_workers)
    for archive, content in zip(archives, contents, strict=True):
        _add_archive(archive, content, listing)
    for table in tables:
        _match_metadata(folder, table, listing)
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
        elif path == _writable(path):
            listing.sounds.append(path)
        else:
            listing.refused.append(refused_row(path, "bad_name"))


def _add_archive(
    archive: Path | str, content: Mapping[str, Any] | Failure, listing: Listing
) -> None:
    """Enter the sounds of an archive, as `list_archive` found them, and what it says of them."""
    if isinstance(archive, Path):
        label = archive.relative_to(listing.folder).as_posix()
    else:
        label = label_of(archive)
    if isinstance(content, Failure):
        listing.refused.append(refused_row(label, content.reason))
        return
    for name, offset, num_bytes in content["sounds"]:
        path, key = f"{label}/{name}", str(PurePosixPath(name).with_suffix(""))
        if path in listing.members:
            listing.refused.append(refused_row(path, "repeated_name"))
            continue
        listing.sounds.append(path)
        listing.members[path] = Member(
            archive=str(archive), name=name, offset=offset, num_bytes=num_bytes
        )
        listing.captions[path] = content["captions"].get(key, "")
        if key in content["records"]:
            listing.records[_key(path)] = content["records"][key]
    listing.refused += [refused_row(f"{label}/{name}", why) for name, why in content["refused"]]


def _match_metadata(folder: Path, table: Path, listing: Listing) -> None:
    """Put a table's rows into `listing.metadata`; rows that name no sound are refused."""
    known = {_key(path) for path in listing.sounds}
    base = table.parent.relative_to(folder).as_posix()
    refused_before = {_key(row.path) for row in listing.refused}
    for entry in read_metadata(table):
        named = PurePosixPath(entry.pop("file").replace("\\", "/"))
        if named.is_absolute() and named.is_relative_to(folder.resolve().as_posix()):
            named = named.relative_to(folder.resolve().as_posix())
        elif named.is_absolute() or ".." in named.parts:
            listing.refused.append(refused_row(str(named), "outside"))
            continue
        else:
            named = base / named
        key = _key(named.as_posix())
        if key in listing.metadata:
            listing.refused.append(refused_row(named.as_posix(), "repeated_row"))
        elif key in known:
            listing.metadata[key] = entry
        elif key not in refused_before:
            reason = "unsupported" if _exists(folder / named) else "missing"
            listing.refused.append(refused_row(named.as_posix(), reason))


def refused_row(path: str, reason: str) -> ManifestRow:
    """Return the row of a file that is not used."""
    return ManifestRow(path=_writable(path), verdict="refused", reason=reason)


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
