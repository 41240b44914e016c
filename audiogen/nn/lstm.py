"""A causal LSTM over embedded steps, the smallest baseline of the models of tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiogen.nn.decoder import Backbone
from audiogen.types import Context

LSTMState = tuple[Tensor, Tensor]
"""Output and cell of each layer (depth, B, dim)."""


class CausalLSTM(Backbone):
    """An LSTM with a path around it; the context is added to each step.

    Of the context's sequence it sees the mean only: the smallest baseline.
    """

    def __init__(self, dim: int, depth: int) -> None:
        """Make a network of `depth` layers of width `dim`."""
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, num_layers=depth, batch_first=True)
        self.norm = nn.RMSNorm(dim)

    def forward(
        self,
        x: Tensor,
        context: Context,
        *,
        mask: Tensor | None = None,
        cache: LSTMState | None = None,
    ) -> Tensor:
        """Run over steps, as `Backbone.forward` says."""
        del mask  # padding comes behind what is real, and a step sees earlier ones only
        x = x + _added(context)
        y, state = self.lstm(x, cache)
        if cache is not None:
            for kept, new in zip(cache, state, strict=True):
                kept.copy_(new)
        out: Tensor = self.norm(x + y)
        return out

    def cache(self, context: Context, max_steps: int) -> LSTMState:
        """Make the state before the first step, as `Backbone.cache` says."""
        del max_steps
        zeros = context.vector.new_zeros(self.lstm.num_layers, *context.vector.shape)
        return zeros, torch.zeros_like(zeros)


def _added(context: Context) -> Tensor:
    """What a context adds to each step, (B, 1, dim): its vector and its sequence's mean."""
    real = context.mask[..., None]
    total = (context.sequence * real).sum(dim=1, keepdim=True)
    return context.vector[:, None] + total / real.sum(dim=1, keepdim=True).clamp(min=1)
