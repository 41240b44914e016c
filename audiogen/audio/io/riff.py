"""Chunks of WAV files, written beside the samples."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

from audiogen.audio.io.containers import walk
from audiogen.audio.io.metadata import Chunks, pack_chunks
from audiogen.storage import replacing

RIFF_BYTES = (1 << 32) - 2
COPY_BYTES = 1 << 20
OURS = {b"smpl", b"acid", b"cue ", b"bext", b"iXML"}
OUR_LISTS = {b"adtl", b"INFO"}


def write_chunks(path: Path, chunks: Chunks) -> dict[str, str]:
    """Put `chunks` into a WAV file, in place of those of their kinds; samples stay bit for bit.

    Args:
        path: A WAV file below 4 GiB; it is replaced as a whole or not at all.
        chunks: What the file will hold beside its samples.

    Returns:
        The full text of every field that had to be cut or written in ASCII, by field.

    Raises:
        ValueError: not such a file, or a number that its field cannot hold.
    """
    changed: dict[str, str] = {}
    with path.open("rb") as source:
        places = _places(source, path)
        rate = _sample_rate(source, places, path)
        try:
            new = pack_chunks(chunks, rate, changed)
        except ValueError as error:
            raise ValueError(f"{path}: {error}.") from None
        with replacing(path) as temporary, temporary.open("wb") as target:
            target.write(b"RIFF\0\0\0\0WAVE")
            for name, start, size in places:
                if name not in OURS and not _is_our_list(source, name, start):
                    target.write(name + struct.pack("<I", size))
                    _copy(source, target, start, size)
            target.write(new)
            total = target.tell() - 8
            if total > RIFF_BYTES:
                raise ValueError(f"{path}: no room for metadata in a WAV file of 4 GiB.")
            target.seek(4)
            target.write(struct.pack("<I", total))
    return changed


def _places(source: BinaryIO, path: Path) -> list[tuple[bytes, int, int]]:
    """Return name, start and size of each chunk of the file.

    Raises:
        ValueError: not RIFF WAVE (RF64 has sizes of another kind), or chunks that do not fill it.
    """
    end = source.seek(0, os.SEEK_END)
    source.seek(0)
    head = source.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise ValueError(f"{path}: not a WAV file (RIFF WAVE).")
    places, stop, _ = walk(source, end, "<", samples=b"data")
    if stop < end or any(start + size > end for _, start, size in places):
        raise ValueError(f"{path}: its chunks do not end where the file does.")
    return places


def _sample_rate(source: BinaryIO, places: list[tuple[bytes, int, int]], path: Path) -> int:
    for name, start, _ in places:
        if name == b"fmt ":
            source.seek(start + 4)
            rate: int = struct.unpack("<I", source.read(4))[0]
            if rate:
                return rate
    raise ValueError(f"{path}: a WAV file without a format.")


def _is_our_list(source: BinaryIO, name: bytes, start: int) -> bool:
    source.seek(start)
    return name == b"LIST" and source.read(4) in OUR_LISTS


def _copy(source: BinaryIO, target: BinaryIO, start: int, size: int) -> None:
    """Copy the data of a chunk, padded to an even size."""
    source.seek(start)
    left = size
    while left:
        block = source.read(min(COPY_BYTES, left))
        target.write(block)
        left -= len(block)
    target.write(b"\0" * (size % 2))
