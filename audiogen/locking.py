"""One process at a time at work in a folder."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audiogen.storage import make_folder, writing

LOCK_FILE = ".lock"
"""It stays there: whether it is held is known to the system alone, not by the file."""
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
    make_folder(folder)
    with writing(folder):
        lock = (folder / LOCK_FILE).open("a+", encoding="utf-8", errors="replace")
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            raise BusyError(
                f"{folder}: process {file.read(20)} is {work}\n"
                "  wait until it is done, or stop it; then give the command again\n"
                "  nothing was changed"
            ) from None
        except OSError as error:
            text = "%s: no locks on this file system (%s); let one process at a time work here"
            _log.warning(text, folder, error.strerror)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield  # the lock is given back when the file is closed
        except BaseException:
            if is_new and [path.name for path in folder.iterdir()] == [LOCK_FILE]:  # refused
                (folder / LOCK_FILE).unlink()
                folder.rmdir()
            raise
