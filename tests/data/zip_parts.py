"""Zip archives of one or more parts, written byte by byte, so that tests can write wrong ones."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REGULAR, LINK = 0o100644, 0o120777


@dataclass(kw_only=True)
class Entry:
    """A file to be packed; what is None is as it should be."""

    name: str
    content: bytes = b""
    deflated: bool = True
    mode: int = REGULAR
    flags: int = 1 << 11
    method: int | None = None
    size: int | None = None
    crc: int | None = None


def write_zip(
    path: Path,
    entries: Sequence[Entry],
    *,
    part_bytes: int = 0,
    zip64: bool = False,
    comment: bytes = b"",
) -> list[Path]:
    """Write an archive, as `zip -s` does: parts of `part_bytes`, the last of them under `path`.

    Returns:
        the parts in the order of their disks.
    """
    disks = [bytearray(b"PK\7\b" if part_bytes else b"")]

    def put(data: bytes, whole: bool = False) -> None:
        if whole and part_bytes and len(disks[-1]) + len(data) > part_bytes:
            disks.append(bytearray())  # headers are not cut
        while part_bytes and len(disks[-1]) + len(data) > part_bytes:
            room = part_bytes - len(disks[-1])
            disks[-1] += data[:room]
            data = data[room:]
            disks.append(bytearray())
        disks[-1] += data

    directory = b""
    for entry in entries:
        raw = entry.name.encode()
        packed = zlib.compress(entry.content, wbits=-15) if entry.deflated else entry.content
        method = (8 if entry.deflated else 0) if entry.method is None else entry.method
        size = len(entry.content) if entry.size is None else entry.size
        crc = zlib.crc32(entry.content) if entry.crc is None else entry.crc
        sizes = crc, len(packed), size
        header = struct.pack(
            "<4s5H3I2H", b"PK\3\4", 20, entry.flags, method, 0, 0, *sizes, len(raw), 0
        )
        put(b"", whole=True)
        if part_bytes and len(disks[-1]) + len(header) + len(raw) > part_bytes:
            disks.append(bytearray())
        disk, offset = len(disks) - 1, len(disks[-1])
        put(header + raw, whole=True)
        put(packed)
        extra = b""
        if zip64:
            extra = struct.pack("<2H3Q", 1, 24, size, len(packed), offset)
            sizes, offset = (crc, 0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFF
        extra = struct.pack("<2HI", 0x5455, 4, 7) + extra  # a time stamp stands before it
        directory += (
            struct.pack(
                "<4s6H3I5H2I",
                b"PK\1\2",
                3 << 8 | 20,
                20,
                entry.flags,
                method,
                0,
                0,
                *sizes,
                len(raw),
                len(extra),
                0,
                disk,
                0,
                entry.mode << 16,
                offset,
            )
            + raw
            + extra
        )
    disk, offset, count, size = len(disks) - 1, len(disks[-1]), len(entries), len(directory)
    put(directory)
    if zip64:
        last, at = len(disks) - 1, len(disks[-1])
        disks[-1] += struct.pack(
            "<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, last, disk, count, count, size, offset
        )
        disks[-1] += struct.pack("<4sIQI", b"PK\6\7", last, at, last + 1)
        disk = count = 0xFFFF
        size = offset = 0xFFFFFFFF
    last = 0xFFFF if zip64 else len(disks) - 1
    disks[-1] += struct.pack(
        "<4s4H2IH", b"PK\5\6", last, disk, count, count, size, offset, len(comment)
    )
    disks[-1] += comment
    names = [path.with_suffix(f".z{number:02d}") for number in range(1, len(disks))] + [path]
    for name, data in zip(names, disks, strict=True):
        name.write_bytes(data)
    return names
