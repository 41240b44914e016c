"""FSDP2: weights, gradients, optimizer and average split over the processes (Zhao et al. 2023).

Each process keeps some rows of every parameter (arXiv 2304.11277); those of a block are gathered
while it computes. What a process saves are its rows, as `<group>-00001-of-00008.safetensors`; read
back they are whole tensors again, so that another number of processes can go on with them.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from audiogen.storage import read_tensors, write_tensors
from audiogen.training.loop.blocks import blocks_of

_PART = re.compile(r"-\d{5}-of-\d{5}$")


def shard_over_processes(module: nn.Module, device: torch.device) -> None:
    """Split the parameters of a module on `device` over all processes, in place, block by block."""
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block in blocks_of(module):
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)


def exchanging(
    module: nn.Module, accelerator: Accelerator, *, is_last: bool
) -> AbstractContextManager[None]:
    """Have processes exchange gradients inside, if it is the last of the micro-batches.

    Else they are kept in each process, to be added to those that follow.
    """
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(is_last)
        return contextlib.nullcontext()
    alone: AbstractContextManager[None] = accelerator.no_sync(module)
    return contextlib.nullcontext() if is_last else alone


def is_sharded(module: nn.Module) -> bool:
    """Whether `shard_over_processes` was called for it."""
    return isinstance(module, FSDPModule)


def whole(tensor: Tensor) -> Tensor:
    """All rows of a tensor; every process must call it for one that is split."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_rows(tensor: Tensor) -> Tensor:
    """This process's rows of a tensor that is split, sharing its memory, or all of another."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def split_like(full: Tensor, like: Tensor) -> Tensor:
    """`full`, which every process has, split over the processes as `like` of the same shape is."""
    if not isinstance(like, DTensor):
        return full
    own = full.to(like.device)
    return distribute_tensor(own, like.device_mesh, like.placements, src_data_rank=None)


def own_part(tensors: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """What this process saves of {group: {name: tensor}}; the first saves what is not split."""
    return {
        group: {
            name: own_rows(tensor)
            for name, tensor in named.items()
            if dist.get_rank() == 0 or isinstance(tensor, DTensor)
        }
        for group, named in tensors.items()
    }


def write_part(folder: Path, part: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write an `own_part` for `take_parts` to find after all processes have written theirs."""
    rank, count = dist.get_rank(), dist.get_world_size()
    place = _part_folder(folder, rank)
    shutil.rmtree(place, ignore_errors=True)  # of a save that was interrupted
    place.mkdir(parents=True)
    for group, named in part.items():
        write_tensors(place / f"{group}-{rank + 1:05d}-of-{count:05d}.safetensors", named)


def take_parts(folder: Path, checkpoint: Path) -> None:
    """Move what all processes have written into the folder `checkpoint`."""
    for rank in range(dist.get_world_size()):
        for file in sorted(_part_folder(folder, rank).iterdir()):
            file.rename(checkpoint / file.name)
    for part in folder.glob("part-*"):  # also of more processes, whose save was interrupted
        shutil.rmtree(part)


def _part_folder(folder: Path, rank: int) -> Path:
    return folder / f"part-{rank:05d}"


def read_groups(folder: Path) -> dict[str, dict[str, Tensor]]:
    """The groups of tensors in the files of a folder, whole where they lie there in parts."""
    groups: dict[str, dict[str, list[Tensor]]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        named = groups.setdefault(_PART.sub("", file.stem), {})
        for name, rows in read_tensors(file).items():
            named.setdefault(name, []).append(rows)
    return {
        group: {
            name: torch.cat(parts) if len(parts) > 1 else parts[0] for name, parts in named.items()
        }
        for group, named in groups.items()
    }
