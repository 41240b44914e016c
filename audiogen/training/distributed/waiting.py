"""Waiting for the other processes as long as it takes, outside of any collective.

A collective has a time-out of minutes, by which a run that hangs is found. What may take hours and
is not done by all alike (reading the sounds, encoding them, publishing a model) is waited for here.
"""

from __future__ import annotations

import functools
import itertools
import os
import time
from datetime import timedelta

import torch.distributed as dist
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from audiogen.nn.processes import is_joined

POLL_SECONDS = 0.1
_STORE_TIMEOUT = timedelta(minutes=1)
_meetings = itertools.count()


def wait_for_all() -> None:
    """Return when every process has called this as often as the present one.

    Signals are heeded while it waits. A process that fails meanwhile is noticed by what launched
    it, which ends the others.
    """
    if not is_joined():
        return
    store, meeting = _store(), next(_meetings)
    store.set(f"{meeting}/{dist.get_rank()}", "")
    everyone = [f"{meeting}/{rank}" for rank in range(dist.get_world_size())]
    while not store.check(everyone):
        time.sleep(POLL_SECONDS)
    PartialState().wait_for_everyone()  # the first process, which keeps the store, leaves last


@functools.cache
def _store() -> TCPStore:
    """The names of those who have come, kept by the first process at an address all are told."""
    host, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), [0]
    store = None
    if dist.get_rank() == 0:
        store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=_STORE_TIMEOUT)
        port = [store.port]
    broadcast_object_list(port)
    return store or TCPStore(host, port[0], is_master=False, timeout=_STORE_TIMEOUT)
