"""Random numbers of training steps: of each item on its own, so that processes do not matter.

Inside `draws_of` every draw is a pure function of seed, step, the item's place in the batch over
all processes, and how many draws the step has made before. So the same batch gives the same
gradient on one process or on many, in one piece or in micro-batches, and after a restart, and there
is no random state to save. Outside of it the draws are those of torch's global generator.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from audiogen.seeds import hashed_seed

Fill = Callable[[Tensor, torch.Generator | None], object]
"""Fills a tensor in place with numbers of a generator."""


@dataclass
class _Draws:
    """The draws of one step on this process's items.

    Attributes:
        shared: seed of what all items and processes have in common.
        items: seed of each item.
        number: draws made so far.
        generators: one per device, seeded anew for each item of each draw.
    """

    shared: int
    items: list[int]
    number: int = 0
    generators: dict[torch.device, torch.Generator] = field(default_factory=dict)

    def generator(self, device: torch.device, seed: int) -> torch.Generator:
        """The device's generator at the start of the present draw's stream of `seed`."""
        if device not in self.generators:
            self.generators[device] = torch.Generator(device)
        return self.generators[device].manual_seed(_mixed(seed, self.number))


# Of the process, not of the thread: autograd recomputes checkpointed blocks in threads of its own.
_current: _Draws | None = None


def draws_of(seed: int, step: int, items: range) -> AbstractContextManager[None]:
    """Make the draws inside the block those of some items of a step.

    Args:
        seed: of the run.
        step: optimizer updates done.
        items: places of this process's items in the batch over all processes.
    """
    seeds = [hashed_seed("step", seed, step, item) for item in items]
    return _drawn_by(_Draws(hashed_seed("step", seed, step), seeds))


@contextlib.contextmanager
def _drawn_by(draws: _Draws | None) -> Iterator[None]:
    global _current  # noqa: PLW0603 - as torch's own generator, it is one for the process
    before, _current = _current, draws
    try:
        yield
    finally:
        _current = before


def rand(shape: tuple[int, ...] | torch.Size, device: torch.device) -> Tensor:
    """Uniform numbers in [0, 1); the first dimension is that of the items."""
    return _filled(torch.empty(shape, device=device), lambda row, g: row.uniform_(generator=g))


def randn(shape: tuple[int, ...] | torch.Size, device: torch.device) -> Tensor:
    """Standard normal numbers; the first dimension is that of the items."""
    return _filled(torch.empty(shape, device=device), lambda row, g: row.normal_(generator=g))


def randint(high: int, shape: tuple[int, ...] | torch.Size, device: torch.device) -> Tensor:
    """Whole numbers (int64) from 0 to `high` - 1; the first dimension is that of the items."""
    empty = torch.empty(shape, device=device, dtype=torch.long)
    return _filled(empty, lambda row, g: row.random_(high, generator=g))


def shared_generator(device: torch.device) -> torch.Generator | None:
    """Generator of a draw that is the same in all processes; None is torch's global one.

    It is good until the next draw.
    """
    if _current is None:
        return None
    _current.number += 1
    return _current.generator(device, _current.shared)


class Dropout(nn.Module):
    """Sets numbers to zero while training, by draws of each item; scales the rest up."""

    def __init__(self, share: float) -> None:
        """Drop a share, in 256ths: a byte decides, of which a generator gives eight at once.

        A share above 0 drops at least one 256th, one below 1 keeps as much.
        """
        super().__init__()
        self._dropped = min(max(round(256 * share), 1), 255) if share else 0

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, ...) to the same shape."""
        if not self.training or self._dropped == 0:
            return x
        size = x[0].numel()
        words = torch.empty(len(x), -(-size // 8), device=x.device, dtype=torch.long)
        drawn = _filled(words, lambda row, g: row.random_(-(2**63), None, generator=g))
        kept = drawn.view(torch.uint8)[:, :size].view(x.shape) >= self._dropped
        return torch.where(kept, x * (256 / (256 - self._dropped)), 0)


def recomputed(function: Callable[..., Any], *inputs: Any, **settings: Any) -> Any:
    """Call `function`, and call it again in the backward pass instead of keeping what it made.

    Both calls draw the same numbers (activation checkpointing; Chen et al. 2016, arXiv 1604.06174).
    """
    return checkpoint(function, *inputs, use_reentrant=False, context_fn=_once_more, **settings)


def _once_more() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Contexts of the first call, and of the second, which goes back to where the first began."""
    begin = None if _current is None else replace(_current)
    return contextlib.nullcontext(), _drawn_by(begin)


def _filled(out: Tensor, fill: Fill) -> Tensor:
    """Fill `out` by the draws of its items; return it."""
    _filling(out, fill)
    return out


@torch.no_grad()
def _fill_rows(out: Tensor, fill: Fill) -> None:
    """Fill `out` row by row, each by the draws of its item."""
    if _current is None:
        fill(out, None)
        return
    if len(out) != len(_current.items):
        raise ValueError(
            f"chance: {len(out)} rows asked for while the step has {len(_current.items)} items"
        )
    _current.number += 1
    for row, seed in zip(out, _current.items, strict=True):
        fill(row, _current.generator(out.device, seed))


_filling: Callable[[Tensor, Fill], None] = _fill_rows


def hide_draws_from_compiler() -> None:
    """Let what `torch.compile` makes call the draws as they are; to be called before it.

    It is not done from the start, as importing the compiler takes longer than all of audiogen.
    """
    global _filling  # noqa: PLW0603 - as above
    _filling = torch.compiler.disable(_fill_rows)  # type: ignore[no-untyped-call]


def _mixed(seed: int, number: int) -> int:
    """A seed for draw `number`, well spread in its low 32 bits, which are all a CPU looks at."""
    mixed = (seed + number * 0x9E3779B97F4A7C15) & (2**64 - 1)
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)  # splitmix64
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return (mixed ^ (mixed >> 31)) >> 1
