"""Runs a task on untrusted files in child processes that may hang, crash or grow without harm.

A child is a fresh interpreter which imports the task's module and nothing else of the package, so
that it starts fast and shares nothing. It is told where and answers in JSON, one line each; what
native decoders print is dropped. A child that exceeds its limits is ended and its file refused;
the next file gets a new child. Nothing depends on the number of children.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from audiogen.audio.io.decoding import REASONS, AudioReadError
from audiogen.audio.io.member import Member, Sound, is_remote

if sys.platform != "win32":
    import resource

Task = Callable[[Any], Mapping[str, Any]]
"""A function of a module, of one file; what it returns must be JSON."""
Item = Sound | str
"""A file, a member of an archive, or the address of a remote archive."""

FILE_SECONDS = 60.0  # by the clock; generous, since machines may be busy
SECONDS_PER_MEGABYTE = 1.0  # added for large files
MEMORY_BYTES = 1 << 30  # beyond what a child has when it starts
ADDRESS_SECONDS = 3600.0  # listing what is elsewhere takes as long as the network does
START_SECONDS = 120.0  # a cold disk with a virus scanner
FILES_PER_WORKER = 16  # fewer are not worth another start of an interpreter
MAX_WORKERS = 16
MAX_REPLY_BYTES = 256 << 20  # 150 hours of fingerprint
MAX_WRITTEN_BYTES = 1 << 20  # by a child to any file; no task writes one
MEMORY_POLL_SECONDS = 0.05
PARENT_POLL_SECONDS = 1.0
EXIT_MEMORY = 77
_ONE_THREAD = {
    f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
} | {"VECLIB_MAXIMUM_THREADS": "1"}


def run_contained(
    task: Task, items: Sequence[Item], *, num_workers: int | None = None
) -> list[Mapping[str, Any] | str]:
    """Run a task on every file in child processes.

    Args:
        task: A function at the top of a module; the children import it by its name.
        items: What the task is given, one at a time. The files need not exist, nor be sounds.
        num_workers: The number of child processes; None chooses it by processors and files.

    Returns:
        What the task returned, or why it did not, a key of `REASONS`; in the order of `items`.

    Raises:
        RuntimeError: a child cannot even start.
    """
    most = num_workers or min(_processors(), MAX_WORKERS, -(-len(items) // FILES_PER_WORKER))
    workers = [_Worker(task) for _ in range(max(1, min(most, len(items))))]
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def ask(item: Item) -> Mapping[str, Any] | str:
        worker = idle.get()
        try:
            return worker.ask(item)
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(max_workers=len(workers))
    try:
        return list(pool.map(ask, items))
    finally:  # also after Ctrl-C: no child may go on, and no thread wait for it
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.end()


class _Worker:
    """The parent's end of one child, which is started when it is needed."""

    def __init__(self, task: Task) -> None:
        self._name = f"{task.__module__}:{task.__qualname__}"
        self._process: subprocess.Popen[bytes] | None = None
        self._is_over = False

    def ask(self, item: Item) -> Mapping[str, Any] | str:
        """Have the task done on one file; return its answer, or the reason why there is none."""
        process = self._process or self._start()
        told = asdict(item) if isinstance(item, Member) else str(item)
        seconds = _seconds_for(item)
        end = time.monotonic() + seconds
        reply = _exchange(process, told, seconds)
        timed_out = time.monotonic() >= end
        if reply is None or timed_out or reply.get("reason") == "too_much_memory":
            self._stop()  # it is dead, or its memory is in pieces
        if timed_out:
            return "too_slow"
        if reply is None:
            return "too_much_memory" if process.returncode == EXIT_MEMORY else "decoder_crashed"
        if "reason" in reply:
            reason = str(reply["reason"])
            return reason if reason in REASONS else "decoder_crashed"
        return reply

    def end(self) -> None:
        """End the child, and start no other one."""
        self._is_over = True
        self._stop()

    def _stop(self) -> None:
        """End the child, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # unsent requests of a dead child
                    if pipe:
                        pipe.close()

    def _start(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
        process = subprocess.Popen(  # noqa: S603 - this interpreter, and no shell
            # Without -P a module of the current folder, such as json.py, could come first.
            [sys.executable, "-P", "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | _ONE_THREAD | {"PYTHONPATH": path},
        )
        self._process = process
        if self._is_over:  # ended by another thread while this one was here
            process.kill()
        setup = {"task": self._name, "memory_bytes": MEMORY_BYTES}
        if _exchange(process, setup, START_SECONDS) is None:
            self._stop()
            raise RuntimeError("a process that decodes cannot start; it says why above")
        return process


def _seconds_for(item: Item) -> float:
    """How long the task may take."""
    if isinstance(item, str):
        return ADDRESS_SECONDS
    try:
        size = item.num_bytes if isinstance(item, Member) else item.stat().st_size
    except OSError:
        size = 0
    return FILE_SECONDS + SECONDS_PER_MEGABYTE * size / 1e6


def _exchange(
    process: subprocess.Popen[bytes], message: object, seconds: float
) -> dict[str, Any] | None:
    """Send a message and return the answer; None when none comes in time, or another one."""
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()
        line = process.stdout.readline(MAX_REPLY_BYTES)
        reply = json.loads(line) if line.endswith(b"\n") else None
    except (OSError, ValueError, RecursionError):  # it died while told, or answers no JSON
        reply = None
    finally:
        timer.cancel()
    return reply if isinstance(reply, dict) else None


def serve() -> None:
    """Be a child: read requests from the standard input and answer them, until it ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle

    def answer(reply: Mapping[str, Any]) -> None:
        replies.write(json.dumps(reply) + "\n")
        replies.flush()

    setup = json.loads(sys.stdin.readline())
    module, _, name = setup["task"].partition(":")
    task: Task = getattr(importlib.import_module(module), name)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what decoders print is no answer
    os.dup2(nowhere, 2)
    _limit_memory(setup["memory_bytes"])
    threading.Thread(target=_watch_parent, args=(os.getppid(),), daemon=True).start()
    answer({})
    for line in sys.stdin:
        told = json.loads(line)
        if isinstance(told, dict):
            answer(_attempt(task, Member(**told)))
        else:
            answer(_attempt(task, told if is_remote(told) else Path(told)))


def _attempt(task: Task, item: Item) -> Mapping[str, Any]:
    try:
        return task(item)
    except AudioReadError as error:
        return {"reason": error.reason}
    except MemoryError:
        return {"reason": "too_much_memory"}
    except OSError:
        return {"reason": "unreadable"}
    except Exception:
        return {"reason": "decoder_crashed"}


def _limit_memory(memory_bytes: int) -> None:
    """Limit memory and files written; the address space where the system can, which is strict."""
    if sys.platform == "win32":
        return
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, MAX_WRITTEN_BYTES)
    in_use = Path("/proc/self/statm")
    if in_use.exists():
        pages = int(in_use.read_text().split()[0])
        _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + memory_bytes)
    else:  # macOS lets processes exceed RLIMIT_AS
        watch_memory(memory_bytes)


def _lower(which: int, value: int) -> None:
    """Set a soft limit, as far as the hard limit allows."""
    _, hard = resource.getrlimit(which)
    resource.setrlimit(which, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _watch_parent(parent: int) -> None:
    """End this process when its parent is gone, even if a decoder hangs."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_SECONDS)
    os._exit(1)


def watch_memory(memory_bytes: int) -> None:
    """End this process with `EXIT_MEMORY` once it has used so much more than now."""
    unit = 1 if sys.platform == "darwin" else 1024
    allowed = _peak() * unit + memory_bytes

    def watch() -> None:
        while _peak() * unit <= allowed:
            time.sleep(MEMORY_POLL_SECONDS)
        os._exit(EXIT_MEMORY)

    threading.Thread(target=watch, daemon=True).start()


def _peak() -> int:
    """Return the largest resident set so far: bytes on macOS, KiB elsewhere."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
