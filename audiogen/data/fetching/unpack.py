"""Zip archives, whole or split into parts, unpacked without trust in what they say.

`zipfile` reads no archive that is split into `.z01`, `.z02`, ... `.zip`. It is given the parts as
one file, and the places of members, which are told from the start of their parts, are corrected
(APPNOTE 6.3.10 of PKWARE, sections 4.4.11 and 4.4.16).
"""

from __future__ import annotations

import bisect
import contextlib
import io
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import IO, Any
from zipfile import ZipFile, ZipInfo

from audiogen.storage import replacing

CHUNK_BYTES = 1 << 20
ENCRYPTED = 1 << 0  # 4.4.4
UNIX = 3  # 4.4.2.2
END_BYTES = 22  # 4.3.16, without a comment
LOCATOR64 = struct.Struct("<4sIQI")  # 4.3.15


class Archive:
    """An open zip archive of one or more parts, in the order of their disks.

    Of an archive whose files lie in one folder, that is left off when it is given as `inside`.

    Attributes:
        label: its name in messages.
        sizes: bytes of its files when unpacked, by their relative posix paths without "..".

    Raises:
        ValueError: it is no such archive, is damaged or incomplete, or names something that must
            not be unpacked: a path outside the folder, a link, a name twice, an encrypted file.
    """

    def __init__(self, parts: Sequence[Path], inside: str = "") -> None:
        self.label = parts[-1].name
        self._starts = [0, *accumulate(part.stat().st_size for part in parts[:-1])]
        with contextlib.ExitStack() as stack, self._naming():
            files: list[IO[bytes]] = [stack.enter_context(part.open("rb")) for part in parts]
            joined = files[0] if len(files) == 1 else io.BufferedReader(_Joined(files))
            self._zip = stack.enter_context(ZipFile(joined))
            members = self._read_members()
            self._members = {path.removeprefix(inside): members[path] for path in members}
            self._stack = stack.pop_all()
        self.sizes = {path: info.file_size for path, info in self._members.items()}

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def extract(self, path: str, target: Path) -> None:
        """Write a file to `target`, whole or not at all; ValueError if it is damaged."""
        info = self._members[path]
        with (
            self._naming(),
            self._zip.open(info) as source,
            replacing(target, flush=False) as temporary,
            temporary.open("xb") as file,
        ):
            shutil.copyfileobj(source, file, CHUNK_BYTES)
            if file.tell() != info.file_size:
                raise ValueError(f"{path} is cut off")

    def _read_members(self) -> dict[str, ZipInfo]:
        members: dict[str, ZipInfo] = {}
        keys: set[str] = set()
        for info in self._zip.infolist():
            path = _checked_path(info)
            if info.is_dir():
                continue
            key = unicodedata.normalize("NFC", path).casefold()
            if key in keys:
                raise ValueError(f"it holds {path!r} twice")
            keys.add(key)
            members[path] = info if len(self._starts) == 1 else self._placed(info)
            if members[path].header_offset < 0:
                raise ValueError(f"{path!r} begins before its first part")
        return members

    def _placed(self, info: ZipInfo) -> ZipInfo:
        """Return a member of a split archive with its place in the joined parts.

        `zipfile` has counted from the start of the part in which the directory begins.
        """
        if info.volume >= len(self._starts):
            raise ValueError(f"a part is missing in which {info.filename!r} begins")
        start: int = self._zip.start_dir
        assumed = self._starts[bisect.bisect_right(self._starts, start) - 1]
        placed = ZipInfo(info.filename)  # a new one, without what followed from the wrong place
        placed.header_offset = info.header_offset - assumed + self._starts[info.volume]
        placed.flag_bits, placed.compress_type = info.flag_bits, info.compress_type
        placed.compress_size, placed.file_size = info.compress_size, info.file_size
        placed.CRC = info.CRC
        return placed

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Turn what `zipfile` raises for damaged archives into a ValueError that names this one."""
        try:
            yield
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
            raise ValueError(f"{self.label} cannot be unpacked: {error}.") from None


def safe_path(name: str) -> str | None:
    """Return a member's name as a posix path that stays in a folder everywhere; else None."""
    path = PurePosixPath(name)
    is_plain = name.isprintable() and not set(name) & set('\\:*?"<>|')
    is_inside = bool(path.parts) and not path.is_absolute() and ".." not in path.parts
    return path.as_posix() if is_plain and is_inside else None


def _checked_path(info: ZipInfo) -> str:
    """Return the path of a member; raise ValueError if it must not be unpacked."""
    name = info.orig_filename
    path = safe_path(name)
    if path is None:
        raise ValueError(f"it names {name!r}, a path that must not be unpacked")
    kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == UNIX else 0
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise ValueError(f"{name!r} in it is a link or a device")
    is_usual = info.compress_type in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
    if info.flag_bits & ENCRYPTED or not is_usual:
        raise ValueError(f"{name!r} in it is encrypted or packed in an unusual way")
    return path


class _Joined(io.RawIOBase):
    """Parts of an archive, read as one file.

    A zip64 locator in it says that there is one part, since `zipfile` reads no more.
    """

    def __init__(self, files: Sequence[IO[bytes]]) -> None:
        sizes = [file.seek(0, io.SEEK_END) for file in files]
        tail_size = min(sizes[-1], LOCATOR64.size + END_BYTES)
        files[-1].seek(-tail_size, io.SEEK_END)
        tail = files[-1].read()
        if tail.startswith(b"PK\6\7"):
            signature, _, offset, _ = LOCATOR64.unpack_from(tail)
            tail = LOCATOR64.pack(signature, 0, offset, 1) + tail[LOCATOR64.size :]
        self._files = [*files, io.BytesIO(tail)]
        self._ends = list(accumulate([*sizes[:-1], sizes[-1] - tail_size, tail_size]))
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._ends[-1]}[whence]
        if base + offset < 0:
            raise OSError(f"a place {-base - offset} bytes before the start")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        number = bisect.bisect_right(self._ends, self._position)
        if number == len(self._files):
            return 0
        start = self._ends[number - 1] if number else 0
        wanted = min(len(buffer), self._ends[number] - self._position)
        self._files[number].seek(self._position - start)
        data = self._files[number].read(wanted)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
