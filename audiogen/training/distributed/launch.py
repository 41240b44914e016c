"""The processes of a run: how they are joined and stopped, and in which precision."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import timedelta

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.utils import broadcast_object_list

from audiogen.experiment import ExperimentConfig
from audiogen.storage import atomic_write_text, read_json
from audiogen.training.distributed.signals import stop_signals
from audiogen.training.distributed.waiting import wait_for_all
from audiogen.training.loop.precision import choose_precision

COLLECTIVE_TIMEOUT = timedelta(minutes=10)
"""So long does a process wait for the others within a step; then they hang, and it fails."""


@contextlib.contextmanager
def joined_processes(timeout: timedelta = COLLECTIVE_TIMEOUT) -> Iterator[PartialState]:
    """Join the processes that `accelerate launch`, torchrun or srun started."""
    # Without `cpu`, processes on machines that have no GPU would not be joined.
    on_cpu = not torch.accelerator.is_available()
    with stop_signals():
        state = PartialState(cpu=on_cpu, timeout=timeout)
        wait_for_all()
        yield state


def make_accelerator(config: ExperimentConfig, state: PartialState) -> tuple[Accelerator, str]:
    """Make the accelerator in the precision that pays; return it and the reason."""
    request = {"device": state.device.type, "requested": config.train.precision}
    record = config.run_dir / "precision.json"
    known = read_json(record) if record.is_file() else {}
    if request.items() <= known.items():  # a resumed run goes on in the precision it began in
        return _accelerator(known["precision"]), known["reason"]
    choice = list(choose_precision(state.device, config.train.precision))
    broadcast_object_list(choice)  # a measurement may come out otherwise in another process
    if state.is_main_process:
        answer = {**request, "precision": choice[0], "reason": choice[1]}
        atomic_write_text(record, json.dumps(answer, indent=1))
    return _accelerator(choice[0]), choice[1]


def _accelerator(precision: str) -> Accelerator:
    # No search for unused parameters: each has a gradient in every step, if only a zero.
    parallel = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    return Accelerator(mixed_precision=precision, kwargs_handlers=[parallel])
