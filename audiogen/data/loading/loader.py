"""Batches in an order that is a pure function of seed and step, for any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from audiogen.data.loading.clips import Position
from audiogen.seeds import numbers_of


class StepSampler(Sampler[list[Position]]):
    """Positions of each step's batch for one process.

    Item number k of the run is the place k mod N of the permutation of epoch k // N. Step s of
    a global batch of B takes the items from s * B on; process r of R takes the r-th of R equal
    shares of them. So a resumed run, or one with other processes, sees the same items in the same
    steps.
    """

    def __init__(
        self,
        size: int,
        *,
        batch_size: int,
        start_step: int,
        total_steps: int,
        seed: int,
        rank: int = 0,
        num_processes: int = 1,
    ) -> None:
        if size < 1:
            raise ValueError("there is no item to train on")
        if batch_size % num_processes:
            raise ValueError(
                f"batch_size={batch_size} is over all processes; it must be a multiple of"
                f" {num_processes} processes"
            )
        self._size, self._batch_size, self._seed = size, batch_size, seed
        self._steps = range(start_step, total_steps)
        share = batch_size // num_processes
        self._share = slice(rank * share, (rank + 1) * share)

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[Position]]:
        for step in self._steps:
            yield self.global_batch(step)[self._share]

    def global_batch(self, step: int) -> list[Position]:
        """Return the positions of update number `step` (0-based), of all processes."""
        first = step * self._batch_size
        places = (divmod(number, self._size) for number in range(first, first + self._batch_size))
        return [
            Position(epoch, _order(self._size, self._seed, epoch)[place]) for epoch, place in places
        ]


@lru_cache(maxsize=4)  # a batch may lie in two epochs
def _order(size: int, seed: int, epoch: int) -> list[int]:
    """Return the permutation of the items of an epoch."""
    order: list[int] = numbers_of("order", seed, epoch).permutation(size).tolist()
    return order


def make_loader(
    dataset: Any,
    sampler: StepSampler,
    collate: Callable[[list[Any]], Any],
    *,
    num_workers: int,
) -> DataLoader[Any]:
    """DataLoader over `dataset`, whose items are indexed by `Position`."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        # Without one of its own, every start draws from the generator of the training noise, and
        # a resumed run would go on with other numbers.
        generator=torch.Generator().manual_seed(0),
    )
