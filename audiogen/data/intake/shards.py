"""Packs a folder of sounds into tar archives of a size, for sets of very many files."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from audiogen.audio.io.member import Member
from audiogen.data.intake.listing import Listing, list_files
from audiogen.data.metadata import Metadata
from audiogen.storage import publish_folder


def pack_folder(folder: Path, target: Path, *, archive_bytes: int) -> Listing:
    """Copy the sounds below a folder into archives, each with what is known of it as JSON.

    Archives have WebDataset's layout. The same folder gives the same bytes. Sounds are copied as
    they are; whether they can be used, intake decides.

    Args:
        folder: of sounds, as `scan_folder` reads it; only read.
        target: new folder for `shard-00000.tar` and so on; it appears when complete.
        archive_bytes: an archive is closed once it holds so much.

    Returns:
        the sounds that were packed, and what was left out and why.

    Raises:
        ValueError: the folder holds no sound, or `target` is there.
    """
    if target.exists():
        raise ValueError(f"{target} exists; give the name of a new folder.")
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give a folder of sounds.")
    listing = list_files(folder)
    if not listing.sounds:
        raise ValueError(f"{folder} holds no sound to pack.")
    with publish_folder(target) as temporary:
        for number, shard in enumerate(_shards(listing, archive_bytes)):
            _write(temporary / f"shard-{number:05d}.tar", listing, shard)
    return listing


def _shards(listing: Listing, archive_bytes: int) -> list[list[tuple[int, Metadata]]]:
    """Numbered sounds, by what is known of them, in groups that each just reach a size."""
    shards: list[list[tuple[int, Metadata]]] = [[]]
    size = 0
    for number, (path, known) in enumerate(listing.described().items()):
        if size >= archive_bytes:
            shards.append([])
            size = 0
        shards[-1].append((number, known.model_copy(update={"file": path})))
        sound = listing.sounds[path]
        size += sound.num_bytes if isinstance(sound, Member) else sound.stat().st_size
    return shards


def _write(archive: Path, listing: Listing, shard: Sequence[tuple[int, Metadata]]) -> None:
    with tarfile.open(archive, "w") as tar:
        for number, known in shard:
            sound, path = listing.sounds[known.file], PurePosixPath(known.file)
            with sound.open("rb") as file:
                content = file.read()
            # The number keeps keys apart; keys of WebDataset end at the first dot.
            key = f"{number:07d}-{path.stem.replace('.', '_')}"
            record = {name: text for name, text in known.to_record().items() if name != "file"}
            _add(tar, f"{key}{path.suffix.lower()}", content)
            _add(tar, f"{key}.json", json.dumps(record, ensure_ascii=False).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file without the date, owner and mode of this machine."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
