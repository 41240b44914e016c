"""A decoder that does what the name of the file says; runs in child processes of the tests."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiogen.data.tasks import inspect_file


def by_name(path: Path) -> Mapping[str, Any]:
    """Hang, crash, grow or print when the name says so; then look at the file as intake does."""
    kind = path.stem.split("_")[0]
    if kind == "hang":
        time.sleep(3600)
    while kind == "spin":
        pass
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "abort":
        os.abort()
    if kind == "leave":
        os._exit(0)
    if kind == "fail":
        raise ZeroDivisionError("a header with a zero")
    hoard = []
    while kind == "grow":
        hoard.append(b"\1" * (32 << 20))
    if kind == "claim":
        hoard.append(bytes(512 << 30))
    if kind == "print":
        os.write(1, b"Note: illegal frame\n")
        with contextlib.suppress(OSError):  # so much is not kept
            os.write(2, b"Note: illegal frame\n" * 100_000)
            print("Note: illegal frame", file=sys.stderr, flush=True)  # noqa: T201
    return inspect_file(path)


def count(path: Path) -> Mapping[str, Any]:
    """Return the size of a file and the modules that this process has."""
    return {"size": path.stat().st_size, "torch": "torch" in sys.modules}
