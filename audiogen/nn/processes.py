"""Sums, means and batches over the processes of a training; what they are given where there is one.

All processes must call these, in the same order, with tensors of equal shape.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def is_joined() -> bool:
    """Whether there are other processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@torch.no_grad()
def sum_over_processes(tensor: Tensor) -> Tensor:
    """Add up a tensor of all processes, in place."""
    if is_joined():
        dist.all_reduce(tensor)
    return tensor


def mean_over_processes(tensor: Tensor) -> Tensor:
    """Mean of a tensor of all processes, in place."""
    total = sum_over_processes(tensor)
    return total / dist.get_world_size() if is_joined() else total


@torch.no_grad()
def of_all_processes(tensor: Tensor, dim: int) -> Tensor:
    """Join tensors of equal shape along `dim`, in the order of the processes and of the batch."""
    if not is_joined():
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts, dim=dim)


@torch.no_grad()
def from_first_process(tensor: Tensor) -> Tensor:
    """Overwrite a tensor with that of the first process."""
    if is_joined():
        dist.broadcast(tensor, src=0)
    return tensor
