"""Fetch a published set: download, check, unpack, and write the `metadata.csv` that intake reads.

Each step leaves on disk what the next call needs to go on from there: parts of files, whole
archives, unpacked files, and `.fetch/state.json`, which says what is done. Intake skips that folder
because its name begins with a point.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.filesize import decimal
from rich.progress import track

from audiogen.data.fetching.download import fetch_file
from audiogen.data.fetching.published_sets import Bundle, PublishedSet
from audiogen.data.fetching.unpack import Archive
from audiogen.data.metadata import Metadata, metadata_csv
from audiogen.storage import atomic_write_text, sha256_file

WORK_FOLDER = ".fetch"
TABLE = "metadata.csv"
IGNORED = frozenset({WORK_FOLDER, ".DS_Store", "Thumbs.db", "desktop.ini"})
_log = logging.getLogger(__name__)


class State(BaseModel):
    """What has been done in a folder.

    Attributes:
        name: of the set.
        unpacked: sizes of files by their paths, by the checksum of the archive they come from.
        table_sha256: of the table that was written.
    """

    name: str
    unpacked: dict[str, dict[str, int]] = {}
    table_sha256: str = ""


def fetch_set(
    wanted: PublishedSet, folder: Path, *, mirror: str = "", keep_archives: bool = False
) -> list[Metadata]:
    """Have a published set in a folder, ready for `scan_folder`; return its `metadata.csv` by rows.

    The folder is new or empty, or the same was begun there. Nothing is downloaded that is there
    already, and nothing unpacked that is whole. A mirror is the address of a server that holds the
    archives under their names. They are kept in `.fetch` only if you say so.

    Raises:
        ValueError: the folder holds other things, or what came is not what was published.
        OSError: the server cannot be reached, or the disk is full or cannot be written.
    """
    state = _claim(wanted, folder)
    todo = [bundle for bundle in wanted.bundles if not _is_done(bundle, folder, state)]
    if todo:
        _check_space(wanted, folder, todo, keep_archives=keep_archives)
    for bundle in todo:
        paths = [fetch_file(part, folder / WORK_FOLDER, mirror=mirror) for part in bundle.parts]
        state.unpacked[bundle.checksum] = _unpack(wanted, bundle, folder, paths)
        _write_state(folder, state)
        if not keep_archives:
            for path in paths:
                path.unlink()
    clips = _read_clips(wanted, folder)
    _write_table(folder, state, clips)
    if nameless := sum(not clip.author for clip in clips):
        _log.warning("%d clips have no author in the tables of %s", nameless, wanted.title)
    return clips


def summarise(wanted: PublishedSet, folder: Path, clips: Sequence[Metadata]) -> str:
    """Say what is there, under which licences, and what to do next."""
    counts = Counter(clip.licence or "(not given)" for clip in clips).most_common()
    width = max(len(name) for name, _ in counts)
    return "\n".join(
        [
            f"{folder}: {len(clips)} sounds of {wanted.title}, described in {TABLE}",
            *(f"  {name:<{width}}  {count:>6}" for name, count in counts),
            wanted.terms,
            f"next: audiogen data check {folder}",
        ]
    )


def _claim(wanted: PublishedSet, folder: Path) -> State:
    """Return what was done in the folder before; mark a new or empty one as ours."""
    path = folder / WORK_FOLDER / "state.json"
    if path.exists():
        try:
            state = State.model_validate_json(path.read_bytes())
        except ValidationError:
            raise ValueError(
                f"{path} is damaged.\nDelete it and all else in {folder}, or give a new folder."
            ) from None
        if state.name != wanted.name:
            raise ValueError(
                f"{folder} holds {state.name}, or a part of it; give {wanted.name} its own folder."
            )
        return state
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if others := sorted(found - IGNORED):
        raise ValueError(
            f"{folder} holds other things ({', '.join(others[:3])}).\n"
            f"Give a new or empty folder: {wanted.title} brings its own {TABLE}, and other sounds"
            " would be taken for a part of it."
        )
    state = State(name=wanted.name)
    _write_state(folder, state)
    return state


def _write_state(folder: Path, state: State) -> None:
    atomic_write_text(folder / WORK_FOLDER / "state.json", state.model_dump_json(indent=1))


def _is_done(bundle: Bundle, folder: Path, state: State) -> bool:
    """Whether this very archive was unpacked, and its files are there in their full size."""
    files = state.unpacked.get(bundle.checksum)
    return files is not None and all(
        (folder / path).is_file() and (folder / path).stat().st_size == size
        for path, size in files.items()
    )


def _check_space(
    wanted: PublishedSet, folder: Path, todo: Sequence[Bundle], *, keep_archives: bool
) -> None:
    """Raise OSError when the disk cannot hold what is to come."""
    downloads = [sum(part.size for part in bundle.parts) for bundle in todo]
    archives = sum(downloads) if keep_archives else max(downloads)
    present = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    needed = archives + sum(bundle.unpacked_bytes for bundle in wanted.bundles) - present
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"{folder}: {wanted.title} needs {decimal(needed)} on this disk, archives and"
            f" unpacked files together; {decimal(free)} are free.\n"
            "Free some space, or give a folder on another disk."
        )


def _unpack(
    wanted: PublishedSet, bundle: Bundle, folder: Path, paths: Sequence[Path]
) -> dict[str, int]:
    """Unpack the tables of an archive, then the sounds they name; return the files with sizes."""
    with Archive(paths, bundle.inside) as archive:
        chosen = archive.sizes.keys() & (wanted.tables | wanted.notices)
        _extract(archive, bundle, folder, chosen)
        if all((folder / path).is_file() for path in wanted.tables):
            sounds = archive.sizes.keys() & {clip.file for clip in wanted.read_clips(folder)}
            chosen |= sounds
            _extract(archive, bundle, folder, sounds)
    if hasattr(os, "sync"):
        os.sync()  # one flush for all, before the archive may go
    return {path: archive.sizes[path] for path in chosen}


def _extract(archive: Archive, bundle: Bundle, folder: Path, paths: Collection[str]) -> None:
    """Write files of a bundle; raise ValueError before that if they hold too much."""
    size = sum(archive.sizes[path] for path in paths)
    if size > bundle.unpacked_bytes:
        raise ValueError(
            f"{archive.label} would unpack to {decimal(size)}; at most"
            f" {decimal(bundle.unpacked_bytes)} are expected. Nothing was unpacked."
        )
    shown = track(
        sorted(paths),
        f"unpacking {archive.label}",
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    for path in shown:
        target = folder / path
        if not target.parent.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{target.parent} is a link that leaves {folder}; remove it.")
        archive.extract(path, target)


def _read_clips(wanted: PublishedSet, folder: Path) -> list[Metadata]:
    """Return the clips of the set; raise ValueError unless all of them are there."""
    _require(wanted, folder, wanted.tables)
    clips = wanted.read_clips(folder)
    files = {clip.file for clip in clips}
    if not len(clips) == len(files) == wanted.num_clips:
        raise ValueError(
            f"{folder}: the tables of {wanted.title} name {len(files)} clips in {len(clips)} rows;"
            f" {wanted.num_clips} are published.\nIf you have changed them, delete them and call"
            " the same command again."
        )
    _require(wanted, folder, files)
    return clips


def _require(wanted: PublishedSet, folder: Path, paths: Collection[str]) -> None:
    """Raise ValueError when a file that the archives should hold is not there."""
    if lost := sorted(path for path in paths if not (folder / path).is_file()):
        raise ValueError(
            f"{folder}: the archives of {wanted.title} lack {len(lost)} files, first {lost[0]}."
        )


def _write_table(folder: Path, state: State, clips: Sequence[Metadata]) -> None:
    """Write `metadata.csv`, unless someone has changed the one that is there."""
    path, text = folder / TABLE, metadata_csv(clips)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    if path.exists() and sha256_file(path) not in {sha256, state.table_sha256}:
        _log.warning("%s has been changed and is left as it is; delete it for a new one", path)
    elif not path.exists() or sha256 != state.table_sha256:
        atomic_write_text(path, text)
        state.table_sha256 = sha256
        _write_state(folder, state)
