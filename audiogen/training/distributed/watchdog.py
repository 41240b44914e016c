"""Ends a run of several processes when one of them dies, stops or hangs; each prints where it is.

A thread in every process tells the others each two seconds that it lives and how long its process
has not moved. It goes on while the process waits for others, but not when the process is dead or
stopped. What runs alone has no watchdog.
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import socket
import sys
import threading
import time
from datetime import timedelta
from types import TracebackType
from typing import Self

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from audiogen.training.distributed.signals import Stopped

INTERVAL_SECONDS = 2.0
LOST_SECONDS = 12.0
"""A process that was silent for so long between two steps is dead or stopped."""
BUSY_LOST_SECONDS = 120.0
"""The same at a place without limit, where some library may keep the interpreter to itself."""
GRACE_SECONDS = 3.0
"""From the message to the end, so that the others are told too."""
HANG_SECONDS = 35.0
"""When no process has ended a step for so long, and for five times its slowest step, they hang."""
EXIT_FAILED = 1

_current: Watchdog | None = None


def mark(place: str, *, limited: bool) -> None:
    """Tell the watchdog, if there is one, that this process has come to `place`.

    Args:
        place: for the message, such as "generator step 12".
        limited: whether the next mark is due in the time of some steps. Without a limit is what may
            take long, such as a checkpoint, while the other processes wait.
    """
    if _current is not None:
        _current.mark(place, limited=limited)


class Watchdog:
    """Watches the other processes while its block lasts; `mark` speaks to it."""

    def __init__(self, state: PartialState) -> None:
        """Of the process that `state` describes; all must make one."""
        self._rank, self._count = state.process_index, state.num_processes
        self._place, self._limit, self._slowest = "start", math.inf, 0.0
        self._moved_at = self._answered_at = time.monotonic()
        self._was_limited = False
        self._heard = [("0 busy", time.monotonic())] * self._count
        self._over, self._news = threading.Event(), threading.Event()
        self._store: TCPStore | None = None
        self._last_word: tuple[str, str] | None = None
        # Python waits for both at its end: one that ends inside a call of the store aborts.
        self._talker = threading.Thread(target=self._talk)
        self._watcher = threading.Thread(target=self._watch)

    def mark(self, place: str, *, limited: bool) -> None:
        """See the function `mark`."""
        now = time.monotonic()
        if self._was_limited and limited:
            self._slowest = max(self._slowest, now - self._moved_at)
        is_news = limited != self._was_limited
        self._was_limited, self._place, self._moved_at = limited, place, now
        self._limit = max(HANG_SECONDS, 5 * self._slowest) if limited else math.inf
        if is_news:
            self._news.set()  # what the others last heard tells them how long to be patient

    def __enter__(self) -> Self:
        global _current  # noqa: PLW0603 - one for the process, as its faulthandler
        if self._count > 1:
            self._store = _joined_store(self._rank, self._count)
            self._talker.start()
            self._watcher.start()
            _current = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        global _current  # noqa: PLW0603
        _current = None
        if self._store is None or self._over.is_set():
            return
        failed = error is not None and not isinstance(error, Stopped)
        if failed:
            reason = f"process {self._rank} failed at {self._place}: {error!r}"
            self._last_word = ("end", reason)
        else:
            self._last_word = (f"beat/{self._rank}", "left")
        self._over.set()
        self._news.set()
        if failed:
            time.sleep(GRACE_SECONDS)
        self._talker.join(GRACE_SECONDS)

    def _talk(self) -> None:
        """Exchange beats with the others until the end of the block; then say the last word."""
        assert self._store is not None
        names = [f"beat/{rank}" for rank in range(self._count)]
        beat = 0
        while not self._over.is_set():
            self._news.wait(INTERVAL_SECONDS)
            self._news.clear()
            if self._over.is_set():
                break
            now, beat = time.monotonic(), beat + 1
            late = now - self._moved_at > self._limit
            manner = "late" if late else "busy" if math.isinf(self._limit) else "moving"
            try:
                self._store.set(names[self._rank], f"{beat} {manner}")
                told = [text.decode() for text in self._store.multi_get(names)]
                ended = self._store.check(["end"])
                reason = self._store.get("end").decode() if ended else ""
            except RuntimeError:
                continue  # `_watch` counts how long there is no answer
            self._answered_at = now = time.monotonic()
            for rank, text in enumerate(told):
                if text != self._heard[rank][0]:
                    self._heard[rank] = (text, now)
            if reason:
                self._end(reason)
        if self._last_word is not None:
            with contextlib.suppress(RuntimeError):  # the process that keeps the store has left
                self._store.set(*self._last_word)

    def _watch(self) -> None:
        """End the process when another is lost, or none moves."""
        while not self._over.wait(INTERVAL_SECONDS):
            now = time.monotonic()
            if now - self._answered_at > _patience(self._heard[0][0]):
                self._end("process 0 is lost: dead, or stopped")
            for rank, (text, heard_at) in enumerate(self._heard):
                if text != "left" and now - heard_at > _patience(text):
                    self._tell(f"process {rank} is lost: dead, or stopped")
            if all(text.endswith("late") for text, _ in self._heard):
                self._tell(f"no process has ended a step for {now - self._moved_at:.0f} s")

    def _tell(self, reason: str) -> None:
        """Have all processes end."""
        if self._store is not None and _answers(self._answered_at):
            self._store.set("end", reason)
        self._end(reason)

    def _end(self, reason: str) -> None:
        """Print where this process is, and end it."""
        if self._over.is_set():
            return
        self._over.set()
        where = f"process {self._rank} on {socket.gethostname()} was at {self._place}"
        sys.stderr.write(f"error: {reason}\n  {where}; its threads:\n")
        sys.stderr.flush()
        faulthandler.dump_traceback(all_threads=True)
        time.sleep(GRACE_SECONDS)
        os._exit(EXIT_FAILED)


def _patience(beat: str) -> float:
    """Seconds until a process with this last beat counts as lost."""
    return BUSY_LOST_SECONDS if beat.endswith("busy") else LOST_SECONDS


def _answers(answered_at: float) -> bool:
    """Whether the store has answered of late, so that a call will not block."""
    return time.monotonic() - answered_at < 3 * INTERVAL_SECONDS


def _joined_store(rank: int, count: int) -> TCPStore:
    """A store of the watchdogs' own, kept by process 0."""
    timeout = timedelta(seconds=60)
    host = os.environ.get("MASTER_ADDR", "127.0.0.1")
    place: list[int] = [0]
    store = None
    if rank == 0:
        store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=timeout)
        place = [store.port]
    broadcast_object_list(place)
    if store is None:
        store = TCPStore(host, place[0], is_master=False, timeout=timeout)
    store.set(f"beat/{rank}", "0 busy")
    store.wait([f"beat/{other}" for other in range(count)], timedelta(minutes=5))
    return store
