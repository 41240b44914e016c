"""A decoder that does what the name of the file says; runs in child processes of the tests."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from audiogen.audio.measure.inspection import inspect_file

NOTE = "Note: illegal frame\n"


def spin(_: Path) -> None:
    """Use the processor for ever."""
    while True:
        pass


def mark(path: Path) -> None:
    """Say which process this is, and hang."""
    path.with_suffix(".pid").write_text(str(os.getpid()))
    time.sleep(3600)


def grow(_: Path) -> None:
    """Fill the memory."""
    hoard = []
    while True:
        hoard.append(b"\1" * (32 << 20))


def fail(_: Path) -> None:
    """Raise what no decoder should."""
    raise ZeroDivisionError("a header with a zero")


def chatter(_: Path) -> None:
    """Print like mpg123, by all ways there are, and more than is kept."""
    os.write(1, NOTE.encode())
    with contextlib.suppress(OSError):
        os.write(2, NOTE.encode() * 100_000)
        print(NOTE, file=sys.stderr, flush=True)  # noqa: T201


DEEDS: dict[str, Callable[[Path], object]] = {
    "hang": lambda _: time.sleep(3600),
    "spin": spin,
    "mark": mark,
    "crash": lambda _: os.kill(os.getpid(), signal.SIGSEGV),
    "abort": lambda _: os.abort(),
    "leave": lambda _: os._exit(0),
    "fail": fail,
    "grow": grow,
    "claim": lambda _: bytes(512 << 30),
    "print": chatter,
}


def by_name(path: Path) -> Mapping[str, Any]:
    """Do what the name says, if anything; then look at the file as intake does."""
    kind = path.stem.split("_")[0]
    if kind == "lie":
        return {"sample_rate": "a lot"}
    DEEDS.get(kind, lambda _: None)(path)
    return inspect_file(path)


def count(path: Path) -> Mapping[str, Any]:
    """Return the size of a file and whether this process has torch."""
    return {"size": path.stat().st_size, "torch": "torch" in sys.modules}
