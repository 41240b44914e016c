"""Sounds inside tar archives, here or in an object store, read by their range of bytes."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

TRIES = 4
PAUSE_SECONDS = 0.5
"""Before the second try; the next ones wait longer."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file inside an uncompressed tar archive.

    Attributes:
        archive: path of the archive, or its address for fsspec ("s3://bucket/shard-00000.tar").
        name: of the file, with forward slashes.
        offset: of its first byte in the archive.
        num_bytes: its size.
    """

    archive: str
    name: str
    offset: int
    num_bytes: int

    def __str__(self) -> str:
        return f"{self.archive}/{self.name}"

    def open(self, mode: Literal["rb"] = "rb") -> io.BufferedReader | io.BytesIO:
        """Return the file's bytes, or as many as there are; see `Path.open`.

        Those of a remote archive are in memory.

        Raises:
            OSError: the archive cannot be read; a remote one, after several tries.
        """
        if not is_remote(self.archive):
            return io.BufferedReader(_Range(Path(self.archive), self.offset, self.num_bytes))
        return io.BytesIO(read_range(self.archive, self.offset, self.offset + self.num_bytes))


class _Range(io.RawIOBase):
    """A range of a file's bytes as a file of its own."""

    def __init__(self, path: Path, offset: int, num_bytes: int) -> None:
        super().__init__()
        self._file = path.open("rb", buffering=0)
        end = self._file.seek(0, io.SEEK_END)
        self._offset, self._size = offset, max(0, min(num_bytes, end - offset))
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"a place before the beginning: {start + offset}")
        self._place = start + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self._size - self._place))
        self._file.seek(self._offset + self._place)
        read = self._file.readinto(memoryview(buffer)[:count]) or 0
        self._place += read
        return read

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


Sound = Path | Member
"""Where a sound's bytes are."""


def is_remote(archive: str) -> bool:
    """Whether an archive is given by an address."""
    return "://" in archive


def label_of(archive: str) -> str:
    """What the paths of an archive's sounds begin with: its path, or the name in its address."""
    return archive.rpartition("/")[2] if is_remote(archive) else archive


def read_range(address: str, start: int, end: int) -> bytes:
    """Read bytes from `start` to before `end` of a remote file in one request.

    Raises:
        OSError: after several tries, or at once where the file is not there.
    """
    system, path = remote(address)
    said = ""
    for number in range(TRIES):
        time.sleep(PAUSE_SECONDS * number)
        try:
            return bytes(system.cat_file(path, start=start, end=end))
        except FileNotFoundError:
            raise FileNotFoundError(f"{address}: no such file") from None
        except Exception as error:  # each kind of store has errors of its own
            said = _short(error)
    raise OSError(f"{address}: cannot be read ({said})")


def remote(address: str) -> tuple[Any, str]:
    """Return fsspec's file system of an address, and the path in it.

    Raises:
        ValueError: its kind is not known, or its library is not installed.
    """
    import fsspec  # noqa: PLC0415 - only sets that are elsewhere need it

    try:
        system, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"{address}: cannot be read here ({_short(error)})\n"
            "  stores are read through fsspec; docs/data.md says how to install what they need"
        ) from None
    return system, path


def _short(error: BaseException) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
