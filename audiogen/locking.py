"""One process at a time at work in a folder."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_FILE = ".lock"
"""It stays there: whether it is held is known to the system alone, not by the file."""
_PID_BYTES = 20
_BUSY = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}
_log = logging.getLogger(__name__)


class BusyError(ValueError):
    """Another process is at work in the folder."""


@contextmanager
def hold(folder: Path, work: str = "at work here") -> Iterator[None]:
    """Keep other processes of this machine out of a folder.

    The system takes the lock back when the process ends, however it ends. A file system without
    locks lets several work at once, and the log warns of it.

    Args:
        folder: made if missing; one in which nothing has come to be when the work fails goes again.
        work: what the others are told that is done here, such as "making takes in this pack".

    Raises:
        BusyError: another process holds it; tells which.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            _lock(descriptor)
        except OSError as error:
            if error.errno in _BUSY:
                raise _busy(folder, work, os.read(descriptor, _PID_BYTES)) from None
            text = "%s: no locks on this file system (%s); let one process at a time work here"
            _log.warning(text, folder, error.strerror)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    except BaseException:
        if is_new and [path.name for path in folder.iterdir()] == [LOCK_FILE]:  # refused
            (folder / LOCK_FILE).unlink()
            folder.rmdir()
        raise
    finally:
        os.close(descriptor)  # gives the lock back


def _busy(folder: Path, work: str, content: bytes) -> BusyError:
    pid = content.decode("ascii", "replace").strip()
    who = f"process {pid}" if pid.isdigit() else "another process"
    return BusyError(
        f"{folder}: {who} is {work}\n"
        "  wait until it is done, or stop it; then give the command again\n"
        "  nothing was changed"
    )


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        """Lock a byte far behind the text, which others may read then."""
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
