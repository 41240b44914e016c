"""Decoders of tokens: a network over embedded steps, and heads that make logits of what it gives.

The same `forward` serves training, over all steps at once, and sampling, where a cache holds what
the steps so far have left behind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from audiogen.types import Context

Step = Callable[[Tensor], Tensor]
"""The next steps, embedded (B, s, dim), to logits (B, classes) of the last of them. It remembers
all steps; s is 1 while decoding, and more where steps are given beforehand."""

Begin = Callable[[Context, int], Step]
"""What steps are taken in and the most that will be taken -> a `Step` that has taken none yet."""


class Backbone(nn.Module, ABC):
    """A network over S embedded steps of width `dim`, in a context of the same width."""

    @abstractmethod
    def forward(
        self, x: Tensor, context: Context, *, mask: Tensor | None = None, cache: Any = None
    ) -> Tensor:
        """Run over steps.

        Args:
            x: (B, S, dim).
            context: of width `dim`.
            mask: (B, S), True where a step is real; None is everywhere.
            cache: of this network's `cache`, with the steps before those of x, which are added to
                it; None when there are none.

        Returns:
            (B, S, dim), of about unit variance: with a cache what all steps at once would give for
            these.
        """

    @abstractmethod
    def cache(self, context: Context, max_steps: int) -> Any:
        """Make what `forward` keeps from call to call, all of it in tensors that stay in place.

        Args:
            context: of all calls.
            max_steps: of all calls.
        """


class Decoder(nn.Module):
    """A network over embedded steps, and heads."""

    def __init__(self, backbone: Backbone, heads: nn.Module) -> None:
        """Join a network of width `dim` and heads (..., dim) -> (..., classes)."""
        super().__init__()
        self.backbone = backbone
        self.heads = heads

    def forward(self, x: Tensor, context: Context, *, mask: Tensor | None = None) -> Tensor:
        """Logits (B, S, classes) of all steps (B, S, dim); see `Backbone.forward`."""
        logits: Tensor = self.heads(self.backbone(x, context, mask=mask))
        return logits

    @torch.no_grad()
    def last(self, x: Tensor, context: Context, cache: Any) -> Tensor:
        """Logits (B, classes) of the last of the next steps (B, s, dim)."""
        hidden = self.backbone(x, context, cache=cache)
        logits: Tensor = self.heads(hidden[:, -1])
        return logits

    def begin(self, context: Context, max_steps: int) -> Step:
        """Begin to take steps in a context, at most `max_steps`; it is a `Begin`."""
        cache = self.backbone.cache(context, max_steps)
        return bounded(partial(self.last, context=context, cache=cache), max_steps)


def bounded(step: Step, max_steps: int) -> Step:
    """A step that raises ValueError when there is no room for more of them."""
    room = max_steps

    def take(x: Tensor) -> Tensor:
        nonlocal room
        if x.shape[1] > room:
            raise ValueError(f"decoder: {x.shape[1]} steps, and room for {room} is left")
        room -= x.shape[1]
        return step(x)

    return take
