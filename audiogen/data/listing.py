"""What lies in a folder of sounds: files, metadata, and what its name alone rules out."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from audiogen.audio.decoding import AUDIO_SUFFIXES
from audiogen.data.captions import METADATA_NAMES, read_metadata
from audiogen.data.manifest import ManifestRow

OTHER_AUDIO_SUFFIXES = frozenset(
    {".aac", ".ac3", ".amr", ".ape", ".au", ".caf", ".m4a", ".mka", ".mp4", ".oga", ".opus"}
    | {".w64", ".webm", ".wma", ".wv"}
)


@dataclass
class Listing:
    """What walking the folder found, before any sound is opened; paths are posix, relative."""

    sounds: list[str] = field(default_factory=list)
    refused: list[ManifestRow] = field(default_factory=list)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)

    def entry(self, path: str) -> Mapping[str, str]:
        """Return what the metadata say of a sound; empty if nothing."""
        return self.metadata.get(_key(path), {})


def list_files(folder: Path) -> Listing:
    """Walk the folder, following links but no loop, and match its metadata with its files."""
    listing = Listing()
    tables: list[Path] = []
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
        tables += [here / table for table in METADATA_NAMES if table in names]
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
        elif suffix not in AUDIO_SUFFIXES:
            listing.others[suffix or name] += 1
        elif path == _writable(path):
            listing.sounds.append(path)
        else:
            listing.refused.append(refused_row(path, "bad_name"))


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
