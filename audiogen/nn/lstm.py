"""A causal LSTM over embedded steps, the smallest baseline of the models of tokens."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from audiogen.nn.decoder import Backbone, checked_end
from audiogen.types import Context


@dataclass(kw_only=True)
class LSTMCache:
    """What a `CausalLSTM` keeps: its state, what the context adds (B, 1, dim), steps so far."""

    state: tuple[Tensor, Tensor] | None
    added: Tensor
    length: int
    max_steps: int


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
        self, x: Tensor, context: Context, *, mask: Tensor | None = None, causal: bool = True
    ) -> Tensor:
        """Run over all steps, as `Backbone.forward` says; ValueError unless causal."""
        del mask  # padding comes behind what is real, and a step sees earlier ones only
        if not causal:
            raise ValueError("lstm: a step sees earlier ones only; causal=False needs transformer")
        return self._run(x, _added(context), None)[0]

    def cache(self, context: Context, max_steps: int, *, graph: bool = False) -> LSTMCache:
        """Make a cache in which no step has been taken."""
        if graph:
            raise ValueError(
                "lstm: no CUDA graph of its steps: set cuda_graph=false, or train a transformer"
            )
        return LSTMCache(state=None, added=_added(context), length=0, max_steps=max_steps)

    def step(self, x: Tensor, cache: LSTMCache) -> Tensor:
        """Run over the next steps, as `Backbone.step` says."""
        cache.length = checked_end(x, cache.length, cache.max_steps)
        out, cache.state = self._run(x, cache.added, cache.state)
        return out

    def _run(
        self, x: Tensor, added: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        x = x + added
        y, state = self.lstm(x, state)
        return self.norm(x + y), state


def _added(context: Context) -> Tensor:
    """What a context adds to each step, (B, 1, dim): its vector and its sequence's mean."""
    real = context.mask[..., None]
    total = (context.sequence * real).sum(dim=1, keepdim=True)
    return context.vector[:, None] + total / real.sum(dim=1, keepdim=True).clamp(min=1)
