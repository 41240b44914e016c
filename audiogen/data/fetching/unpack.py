"""Zip archives, whole or split into parts, unpacked without trust in what they say.

`zipfile` of the standard library reads no archive that is split into `.z01`, `.z02`, ... `.zip`.
The format is that of PKWARE's APPNOTE 6.3.10; sections are named at the line.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

CHUNK_BYTES = 1 << 20
MAX_DIRECTORY_BYTES = 1 << 28
STORED, DEFLATED = 0, 8  # 4.4.5
ENCRYPTED, UTF8 = 1 << 0, 1 << 11  # 4.4.4
UNIX = 3  # 4.4.2.2
FULL_16, FULL_32 = 0xFFFF, 0xFFFFFFFF  # "look into the zip64 record" (4.4.1.4)

_LOCAL = struct.Struct("<4s5H3I2H")  # 4.3.7
_ENTRY = struct.Struct("<4s6H3I5H2I")  # 4.3.12
_END64 = struct.Struct("<4sQ2H2I4Q")  # 4.3.14
_LOCATOR64 = struct.Struct("<4sIQI")  # 4.3.15
_END = struct.Struct("<4s4H2IH")  # 4.3.16
_EXTRA = struct.Struct("<2H")  # 4.5.1
_ZIP64_EXTRA = 1  # 4.5.3


@dataclass(frozen=True, kw_only=True)
class ZipEntry:
    """A file in a zip archive.

    Attributes:
        name: its path in the archive, a relative posix path without "..".
        raw_name: the same as the archive writes it.
        offset: of its local header, in bytes from the start of the first part.
        compressed: bytes in the archive.
        size: bytes when unpacked.
        method: `STORED` or `DEFLATED`.
        crc: CRC-32 of the unpacked bytes.
    """

    name: str
    raw_name: bytes
    offset: int
    compressed: int
    size: int
    method: int
    crc: int


class Archive:
    """A zip archive of one or more parts, in the order of their disks; the last is the `.zip`.

    Raises:
        ValueError: it is no such archive, is damaged or incomplete, or names something that must
            not be unpacked: a path outside the folder, a link, a name twice, an encrypted file.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.label = paths[-1].name
        with contextlib.ExitStack() as stack:
            self._files = [stack.enter_context(path.open("rb")) for path in paths]
            self._sizes = [path.stat().st_size for path in paths]
            self.members = self._read_members()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def extract(self, member: ZipEntry, target: Path) -> None:
        """Write a member to `target`, whole or not at all; nothing is done if it is there already.

        Raises:
            ValueError: the archive is damaged there.
        """
        if is_whole(target, member):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.part")  # intake skips hidden files
        temporary.unlink(missing_ok=True)  # and not written through, if it is a link
        try:
            with temporary.open("xb") as file:
                for chunk in self._contents(member):
                    file.write(chunk)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def _contents(self, member: ZipEntry) -> Iterator[bytes]:
        """Yield what a member holds, no more than it announces, and check its CRC-32."""
        size, crc = 0, 0
        for chunk in self._unpacked(member):
            size += len(chunk)
            if size > member.size:
                break
            crc = zlib.crc32(chunk, crc)
            yield chunk
        if size != member.size or crc != member.crc:
            raise self._broken(f"{member.name} is damaged")

    def _unpacked(self, member: ZipEntry) -> Iterator[bytes]:
        header = self._read(member.offset, _LOCAL.size)
        signature, *_, name_size, extra_size = _LOCAL.unpack(header)
        start = member.offset + _LOCAL.size
        is_named = self._read(start, name_size) == member.raw_name
        if signature != b"PK\3\4" or not is_named:
            raise self._broken(f"{member.name} does not lie where its directory says")
        start += name_size + extra_size
        pieces = (
            self._read(start + at, min(CHUNK_BYTES, member.compressed - at))
            for at in range(0, member.compressed, CHUNK_BYTES)
        )
        if member.method == STORED:
            yield from pieces
            return
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            for piece in pieces:
                rest = piece
                while rest and not inflater.eof:
                    yield inflater.decompress(rest, CHUNK_BYTES)
                    rest = inflater.unconsumed_tail
            yield inflater.flush()
        except zlib.error as error:
            raise self._broken(f"{member.name} is damaged ({error})") from None

    def _read_members(self) -> tuple[ZipEntry, ...]:
        """Read the directory at the end of the archive (4.3.12)."""
        start, size, count = self._find_directory()
        if size > MAX_DIRECTORY_BYTES:
            raise self._broken(f"its directory has {size} bytes")
        directory = self._read(start, size)
        members: dict[str, ZipEntry] = {}
        at = 0
        for _ in range(count):
            if directory[at : at + 4] != b"PK\1\2" or at + _ENTRY.size > size:
                raise self._broken("its directory is damaged")
            fields = _ENTRY.unpack_from(directory, at)
            name_size, extra_size, comment_size = fields[10:13]
            ends = at + _ENTRY.size, at + _ENTRY.size + name_size
            raw_name, extra = directory[ends[0] : ends[1]], directory[ends[1] :][:extra_size]
            at = ends[1] + extra_size + comment_size
            if at > size:
                raise self._broken("its directory is damaged")
            member = self._member(fields, raw_name, extra)
            if member is None:
                continue
            key = unicodedata.normalize("NFC", member.name).casefold()
            if key in members:
                raise self._broken(f"it holds {member.name!r} twice")
            members[key] = member
        return tuple(members.values())

    def _member(self, fields: Sequence[int], raw_name: bytes, extra: bytes) -> ZipEntry | None:
        """Return what an entry of the directory describes; None for a folder."""
        made_by, flags, method, crc = fields[1], fields[3], fields[4], fields[7]
        disk, mode = fields[13], fields[15] >> 16
        compressed, size, offset, disk = self._wide(
            extra, compressed=fields[8], size=fields[9], offset=fields[16], disk=disk
        )
        try:
            name = raw_name.decode("utf-8" if flags & UTF8 else "cp437")
        except UnicodeDecodeError:
            raise self._broken(f"a name in it, {raw_name!r}, is not UTF-8") from None
        path = safe_path(name)
        if path is None:
            raise self._broken(f"it names {name!r}, a path that must not be unpacked")
        kind = stat.S_IFMT(mode) if made_by >> 8 == UNIX else 0
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise self._broken(f"{name!r} in it is a link or a device")
        if name.endswith("/"):
            return None
        if flags & ENCRYPTED or method not in {STORED, DEFLATED}:
            raise self._broken(f"{name!r} in it is encrypted or packed in an unusual way")
        if disk >= len(self._files):
            raise self._broken(f"{name!r} begins in part {disk + 1}, of {len(self._files)}")
        return ZipEntry(
            name=path,
            raw_name=raw_name,
            offset=sum(self._sizes[:disk]) + offset,
            compressed=compressed,
            size=size,
            method=method,
            crc=crc,
        )

    def _wide(
        self, extra: bytes, *, compressed: int, size: int, offset: int, disk: int
    ) -> tuple[int, int, int, int]:
        """Replace the numbers that are full by those of the zip64 record (4.5.3)."""
        record, at = b"", 0
        while at + _EXTRA.size <= len(extra):
            kind, length = _EXTRA.unpack_from(extra, at)
            at += _EXTRA.size
            if kind == _ZIP64_EXTRA:
                record = extra[at : at + length]
            at += length

        def take(value: int, full: int, width: int) -> int:
            nonlocal record
            if value != full:
                return value
            if len(record) < width:
                raise self._broken("its directory is damaged (a zip64 record is missing)")
            wide, record = int.from_bytes(record[:width], "little"), record[width:]
            return wide

        size = take(size, FULL_32, 8)  # in this order, and only what is full
        compressed = take(compressed, FULL_32, 8)
        offset = take(offset, FULL_32, 8)
        return compressed, size, offset, take(disk, FULL_16, 4)

    def _find_directory(self) -> tuple[int, int, int]:
        """Return where the directory starts and its bytes and entries (4.3.14 to 4.3.16)."""
        total = sum(self._sizes)
        tail_start = max(0, total - _END.size - FULL_16)
        tail = self._read(tail_start, total - tail_start)
        at = tail.rfind(b"PK\5\6")
        if at < 0 or at + _END.size > len(tail):
            raise self._broken("it is not a zip archive, or its end is missing")
        _, last, disk, _, count, size, offset, comment_size = _END.unpack_from(tail, at)
        if at + _END.size + comment_size != len(tail):
            raise self._broken("it is not a zip archive, or its end is missing")
        locator_at = tail_start + at - _LOCATOR64.size
        locator = self._read(locator_at, _LOCATOR64.size) if locator_at >= 0 else b""
        if locator.startswith(b"PK\6\7"):
            _, disk64, offset64, _ = _LOCATOR64.unpack(locator)
            record = self._read(self._absolute(disk64, offset64), _END64.size)
            signature, _, _, _, last, disk, _, count, size, offset = _END64.unpack(record)
            if signature != b"PK\6\6":
                raise self._broken("its directory is damaged (a zip64 record is missing)")
        if last + 1 != len(self._files):
            raise self._broken(f"it has {last + 1} parts, and {len(self._files)} are here")
        return self._absolute(disk, offset), size, count

    def _absolute(self, disk: int, offset: int) -> int:
        """Turn a place in one part into one from the start of the first part."""
        if disk >= len(self._sizes):
            raise self._broken(f"it refers to part {disk + 1}, of {len(self._sizes)}")
        return sum(self._sizes[:disk]) + offset

    def _read(self, start: int, length: int) -> bytes:
        """Read across parts; raise ValueError beyond the end."""
        pieces = []
        for file, size in zip(self._files, self._sizes, strict=True):
            if length and start < size:
                file.seek(start)
                pieces.append(file.read(min(length, size - start)))
                length -= len(pieces[-1])
                start = size
            start -= size
        if length:
            raise self._broken("its end is missing")
        return b"".join(pieces)

    def _broken(self, what: str) -> ValueError:
        return ValueError(f"{self.label} cannot be unpacked: {what}.")


def safe_path(name: str) -> str | None:
    """Return a member's name as a posix path that stays in a folder everywhere; else None."""
    path = PurePosixPath(name)
    is_plain = name.isprintable() and not set(name) & set('\\:*?"<>|')
    is_inside = bool(path.parts) and not path.is_absolute() and ".." not in path.parts
    return path.as_posix() if is_plain and is_inside else None


def is_whole(path: Path, member: ZipEntry) -> bool:
    """Whether a file holds what the archive's directory says of a member."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != member.size:
        return False
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            crc = zlib.crc32(chunk, crc)
    return crc == member.crc


def flush_disks() -> None:
    """Have all that was written reach the disks; Windows does so by itself, soon."""
    if hasattr(os, "sync"):
        os.sync()
