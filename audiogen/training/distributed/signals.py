"""SIGTERM, SIGUSR1 and Ctrl-C: training writes a checkpoint after its step and exits with 75.

A second Ctrl-C ends it at once. 75 is EX_TEMPFAIL of sysexits.h: the same command goes on.
Schedulers send the former two before they take a machine away; a job script asks for its requeue on
that code (recipes/cluster/).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

EXIT_REQUEUE = 75
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
AFTER_STEP = "stopping after this step, with a checkpoint; Ctrl-C again ends at once, without"
AT_ONCE = "stopped by Ctrl-C; the same command goes on"


class Stopped(SystemExit):
    """Training was asked to stop and can go on later; ends the process with `EXIT_REQUEUE`."""

    def __init__(self) -> None:
        super().__init__(EXIT_REQUEUE)


class _Wish:
    """What signals have asked of this process."""

    is_asked = False
    is_interrupted = False
    """Whether one of them was Ctrl-C."""
    may_wait = False
    """Whether steps are being made, after which there will be a checkpoint."""
    process = 0
    """The one that was asked to watch; those that it forks have no checkpoint to write."""


@contextlib.contextmanager
def stop_signals() -> Iterator[None]:
    """Have signals stop what runs inside: within `between_steps` after the step, elsewhere at once.

    Outside of the main thread, where Python allows no handlers, signals do what they did before;
    so does a Ctrl-C that whoever started the process has it ignore, as shells do behind `&`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    numbers = [one for one in SIGNALS if one != signal.SIGINT or not is_ignored]
    _Wish.is_asked = _Wish.is_interrupted = _Wish.may_wait = False
    _Wish.process = os.getpid()
    before = {number: signal.signal(number, _on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def between_steps() -> Iterator[None]:
    """Have signals wait inside until a step asks `is_stop_asked`.

    After an error they go on to wait: it is the error that the process must end with.
    """
    _Wish.may_wait = True
    yield
    _Wish.may_wait = False


def is_stop_asked() -> bool:
    """Whether a signal has asked this process to stop."""
    return _Wish.is_asked


def _on_signal(number: int, frame: FrameType | None) -> None:
    del frame
    _Wish.is_asked = True
    if number == signal.SIGINT:
        if _Wish.is_interrupted:
            raise KeyboardInterrupt
        _Wish.is_interrupted = True
        if os.getpid() == _Wish.process:
            _say(AFTER_STEP if _Wish.may_wait else AT_ONCE)
    if not _Wish.may_wait:
        raise Stopped


def _say(words: str) -> None:
    """Tell the person at the keyboard; a handler must not write to a stream that may be in use."""
    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), f"\n{words}\n".encode())
