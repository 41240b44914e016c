"""Guidance away from a worse prediction, with its refinements: the one formula."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from audiogen.generators.sampling import ODESamplingConfig
from audiogen.types import Context


def joined(first: Context, second: Context) -> Context:
    """The context of the items of both; zeros fill the shorter sequences."""
    return Context(
        sequence=pad_sequence([*first.sequence, *second.sequence], batch_first=True),
        mask=pad_sequence([*first.mask, *second.mask], batch_first=True),
        vector=torch.cat([first.vector, second.vector]),
    )


class Guidance:
    """Combines a prediction with a worse one; one object per sampling run.

    The worse one is without the prompt (classifier-free guidance; Ho and Salimans 2022), away from
    which sounds are more typical of it. It may also be by a network from which blocks are left out
    (Hyung et al. 2024, arXiv 2411.18664), a stand-in for a worse model (Karras et al. 2024, arXiv
    2406.02507), away from which sounds are better.

    With d = conditional - worse, the result is conditional + (scale - 1) d', where d' is d

    - plus `guidance_momentum` times the d of the last evaluation (negative: away from it),
    - shortened to a root mean square of `guidance_norm`,
    - with the part parallel to the conditional prediction weighted by `guidance_parallel`

    (adaptive projected guidance; Sadat et al. 2024, arXiv 2410.02416, alg. 1), and then
    `guidance_rescale` of the way brought back to the standard deviation of the conditional
    prediction (Lin et al. 2023, arXiv 2305.08891, eq. 15 and 16). With all of them at their
    defaults it is worse + scale (conditional - worse).
    """

    def __init__(self, sampling: ODESamplingConfig, mask: Tensor | None) -> None:
        """Prepare guidance as `sampling` says; `mask` (B, L) is True where a frame is real."""
        self._sampling = sampling
        self._mask = None if mask is None else mask[:, None]
        self._running: Tensor | None = None

    def __call__(self, conditional: Tensor, worse: Tensor, active: Tensor) -> Tensor:
        """Guide predictions (B, D, L); items whose `active` (B,) is False stay conditional."""
        config = self._sampling
        difference = conditional - worse
        if config.guidance_momentum:
            if self._running is not None:
                difference = difference + config.guidance_momentum * self._running
            self._running = difference
        if config.guidance_norm is not None:
            size = self._mean(difference.square()).sqrt().clamp_min(1e-8)
            difference = difference * (config.guidance_norm / size).clamp_max(1)
        if config.guidance_parallel != 1:
            share = self._mean(difference * conditional)
            share = share / self._mean(conditional.square()).clamp_min(1e-8)
            difference = difference - (1 - config.guidance_parallel) * share * conditional
        guided = conditional + (config.guidance_scale - 1) * difference
        if config.guidance_rescale:
            ratio = self._deviation(conditional) / self._deviation(guided).clamp_min(1e-8)
            guided = guided * (1 + config.guidance_rescale * (ratio - 1))
        return torch.where(active[:, None, None], guided, conditional)

    def _mean(self, values: Tensor) -> Tensor:
        """Mean (B, 1, 1) of (B, D, L) over channels and real frames."""
        if self._mask is None:
            return values.mean(dim=(1, 2), keepdim=True)
        total = (values * self._mask).sum(dim=(1, 2), keepdim=True)
        return total / (self._mask.sum(dim=2, keepdim=True) * values.shape[1]).clamp_min(1)

    def _deviation(self, values: Tensor) -> Tensor:
        """Standard deviation (B, 1, 1) over channels and real frames."""
        return self._mean((values - self._mean(values)).square()).sqrt()
