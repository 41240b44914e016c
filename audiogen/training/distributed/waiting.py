"""Waiting for the other processes as long as it takes, outside of any collective.

A collective has a time-out of minutes, by which a run that hangs is found. What may take hours and
is not done by all alike (reading the sounds, encoding them, publishing a model) is waited for here.
"""

from __future__ import annotations

import itertools
import time

import torch.distributed as dist
from accelerate import PartialState
from torch.distributed.distributed_c10d import _get_default_store

from audiogen.nn.processes import is_joined

POLL_SECONDS = 0.1
_meetings = itertools.count()


def wait_for_all() -> None:
    """Return when every process has called this as often as the present one.

    Signals are heeded while it waits. A process that fails meanwhile is noticed by what launched
    it, which ends the others.
    """
    if not is_joined():
        return
    store, meeting = _get_default_store(), f"wait_for_all/{next(_meetings)}"
    store.add(meeting, 1)
    while store.add(meeting, 0) < dist.get_world_size():
        time.sleep(POLL_SECONDS)
    PartialState().wait_for_everyone()  # the first process, which keeps the store, leaves last
