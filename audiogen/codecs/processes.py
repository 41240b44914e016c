"""Statistics that all processes of a training share."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Add up a tensor of all processes, in place."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def from_first_process(tensor: Tensor) -> Tensor:
    """Give every process the tensor of the first, in place."""
    if dist.is_available() and dist.is_initialized():
        dist.broadcast(tensor, src=0)
    return tensor
