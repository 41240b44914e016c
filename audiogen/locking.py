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


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Wait until nobody else is within this for the same folder, which is there already.

    What is held is the folder itself, so that no file of a lock comes to be in it. It is for what
    takes a moment; `hold` is for the work of a command.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            _log.debug("%s: no locks on this file system (%s)", folder, error.strerror)
        yield
    finally:
        os.close(descriptor)  # which gives the lock back


@contextmanager
def new_file(folder: Path, stem: str, suffix: str = ".wav") -> Iterator[Path]:
    """Give the name of a new file in `folder`, which nobody else is given until it is written.

    Whoever asks for a name in the same folder meanwhile waits. Missing folders are made.

        with new_file(out, "rain-seed0") as path:
            write_take(path, wav, take)
    """
    folder.mkdir(parents=True, exist_ok=True)
    with in_turn(folder):
        yield _free_path(folder, stem, suffix)


def _free_path(folder: Path, stem: str, suffix: str = ".wav") -> Path:
    """Return `stem` with `suffix` in `folder`, or with a number behind when that is taken."""
    path, number = folder / f"{stem}{suffix}", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}{suffix}", number + 1
    return path
