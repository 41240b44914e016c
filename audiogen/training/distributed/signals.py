"""SIGTERM and SIGUSR1: training writes a checkpoint after the present step and exits with 75.

75 is EX_TEMPFAIL of sysexits.h: the same command goes on. Schedulers send these signals before they
take a machine away; a job script asks for its requeue on that code (recipes/cluster/).
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import torch

from audiogen.nn.processes import sum_over_processes

EXIT_REQUEUE = 75
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Stopped(SystemExit):
    """Training was asked to stop and can go on later; ends the process with `EXIT_REQUEUE`."""

    def __init__(self) -> None:
        super().__init__(EXIT_REQUEUE)


class _Wish:
    """What signals have asked of this process."""

    is_asked = False
    may_wait = False
    """Whether steps are being made, after which there will be a checkpoint."""


@contextlib.contextmanager
def stop_signals() -> Iterator[None]:
    """Have signals stop what runs inside: within `between_steps` after the step, elsewhere at once.

    Outside of the main thread, where Python allows no handlers, signals do what they did before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _on_signal) for number in SIGNALS}
    _Wish.is_asked = _Wish.may_wait = False
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def between_steps() -> Iterator[None]:
    """Have signals wait inside until `stop_is_asked` is called.

    After an error they go on to wait: it is the error that the process must end with.
    """
    _Wish.may_wait = True
    yield
    _Wish.may_wait = False


def stop_is_asked(device: torch.device) -> bool:
    """Whether any process was asked to stop; all must call it, and get the same answer."""
    asked = torch.tensor(float(_Wish.is_asked), device=device)
    return bool(sum_over_processes(asked) > 0)


def _on_signal(number: int, frame: FrameType | None) -> None:
    del number, frame
    _Wish.is_asked = True
    if not _Wish.may_wait:
        raise Stopped
