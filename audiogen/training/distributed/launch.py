"""The processes of a run: how they are joined and stopped, and in which precision."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from datetime import timedelta

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list

from audiogen.devices import usable_device
from audiogen.experiment import ExperimentConfig
from audiogen.training.distributed.signals import stop_signals
from audiogen.training.distributed.waiting import wait_for_all

COLLECTIVE_TIMEOUT = timedelta(minutes=10)
"""So long does a process wait for the others within a step; then they hang, and it fails."""
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def joined_processes(timeout: timedelta = COLLECTIVE_TIMEOUT) -> Iterator[PartialState]:
    """Join the processes that `accelerate launch`, torchrun or srun started."""
    # Without `cpu`, processes on machines that have no GPU would not be joined.
    on_cpu = usable_device().type == "cpu"
    with stop_signals():
        state = PartialState(cpu=on_cpu, timeout=timeout)
        wait_for_all()
        yield state


def make_accelerator(config: ExperimentConfig, state: PartialState) -> Accelerator:
    """Make the accelerator in the precision that pays."""
    choice = list(choose_precision(state.device, config.train.precision))
    broadcast_object_list(choice)  # the machines of other processes may differ
    precision, reason = choice
    if state.is_main_process:
        _log.info("device %s, precision %s", state.device, reason)
    # No search for unused parameters: each has a gradient in every step, if only a zero. Buffers
    # are the same everywhere: codebooks are learnt from the sums over processes.
    parallel = DistributedDataParallelKwargs(gradient_as_bucket_view=True, broadcast_buffers=False)
    # That of a training before in this process may have another precision, and would be kept.
    AcceleratorState._reset_state()
    return Accelerator(mixed_precision=precision, kwargs_handlers=[parallel])


def choose_precision(device: torch.device, requested: str) -> tuple[str, str]:
    """Choose the precision of the forward pass, in the words of accelerate; say why in one line.

    "auto" takes bf16 where the hardware multiplies it.

    Raises:
        ValueError: bf16 is asked of a GPU that cannot do it.
    """
    if requested == "fp32":
        return "no", "fp32: as asked"
    hardware = bf16_hardware(device)
    if requested == "bf16":
        if device.type == "cuda" and not hardware:
            raise ValueError("precision bf16: the GPU does not support it; use fp32 or auto")
        return "bf16", "bf16: as asked"
    if hardware:
        return "bf16", f"bf16: supported by {hardware}"
    return "no", f"fp32: this {device.type} does not multiply bf16 in hardware"


def bf16_hardware(device: torch.device) -> str:
    """What multiplies bf16 matrices in hardware on a device; empty where nothing does."""
    if device.type == "cuda":
        is_able = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.cuda.get_device_name() if is_able else ""
    abilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return ", ".join(name for name in ("avx512_bf16", "amx_bf16", "bf16") if abilities.get(name))
