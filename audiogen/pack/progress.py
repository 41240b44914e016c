"""Progress of a job: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINE_SECONDS = 30.0
_log = logging.getLogger(__name__)


@contextmanager
def show_progress(what: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
    """Show how far a job is, how fast it goes and how long it still takes, on stderr.

    Args:
        what: is made, such as "takes".
        total: of all.
        done: how many are there already; they do not count for the speed.

    Yields:
        A function that takes how many are there now.
    """
    start = time.monotonic()

    def line(now: int) -> str:
        return progress_line(what, total, now, now - done, time.monotonic() - start)

    with (_bar if sys.stderr.isatty() else _lines)(line, total, done) as update:
        yield update


def progress_line(what: str, total: int, now: int, made: int, seconds: float) -> str:
    """Say how far a job is, such as `40 of 120 takes, 20.0 a minute, 4:00 left`."""
    if made <= 0 or seconds <= 0:
        return f"{now} of {total} {what}"
    left = round((total - now) * seconds / made)
    speed = f"{60 * made / seconds:.1f} a minute"
    hours, minutes = left // 3600, left % 3600 // 60
    clock = f"{hours}:{minutes:02d}:{left % 60:02d}" if hours else f"{minutes}:{left % 60:02d}"
    return f"{now} of {total} {what}, {speed}, {clock} left"


@contextmanager
def _lines(line: Callable[[int], str], total: int, _: int) -> Iterator[Callable[[int], None]]:
    last = time.monotonic()

    def update(now: int) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_SECONDS or now == total:
            last = time.monotonic()
            _log.info("%s", line(now))

    yield update


@contextmanager
def _bar(line: Callable[[int], str], total: int, done: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console  # noqa: PLC0415 (only a terminal needs it)
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

    columns = (BarColumn(bar_width=32), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as progress, _logging_above_the_bar():
        task = progress.add_task(line(done), total=total, completed=done)
        yield lambda now: progress.update(task, completed=now, description=line(now))


@contextmanager
def _logging_above_the_bar() -> Iterator[None]:
    """Let handlers that write to stderr write to what rich has put in its place."""
    handlers = [one for one in logging.getLogger().handlers if type(one) is logging.StreamHandler]
    before = [handler.setStream(sys.stderr) for handler in handlers]
    try:
        yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            if stream is not None:
                handler.setStream(stream)
