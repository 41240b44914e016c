"""What a step tells, read from the device at once: each reading waits for all that is under way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from audiogen.nn.processes import mean_over_processes
from audiogen.training.distributed.signals import is_stop_asked


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The numbers of one step.

    Attributes:
        own: of this process by name, "loss" and those of the others that are not NaN.
        norms: of this process's gradients.
        loss: mean over processes.
        norm: the sum of the norms, likewise.
        stops: whether a signal has asked any process to stop.
    """

    own: Mapping[str, float]
    norms: tuple[float, ...]
    loss: float
    norm: float
    stops: bool


def read(told: Mapping[str, Tensor], *norms: Tensor) -> Reading:
    """Read a step's numbers; all processes must call it.

    Args:
        told: losses and metrics () by name, "loss" among them.
        norms: () of gradients.
    """
    own = torch.stack([one.detach().float() for one in (*told.values(), *norms)])
    loss, norm = told["loss"].detach().float(), own[len(told) :].sum()
    # A fill is a kernel; a tensor made of a number would be a copy, which is waited for.
    stops = torch.full_like(norm, float(is_stop_asked()))
    shared = mean_over_processes(torch.stack([loss, norm, stops]))
    numbers = torch.cat([own, shared]).tolist()
    values = dict(zip(told, numbers, strict=False))
    return Reading(
        own={name: one for name, one in values.items() if name == "loss" or not math.isnan(one)},
        norms=tuple(numbers[len(told) : len(own)]),
        loss=numbers[-3],
        norm=numbers[-2],
        stops=numbers[-1] > 0,
    )
