"""Latents of zero mean and unit covariance, by running statistics.

Level and colour of a sound make nearly all of the variance of an untrained encoder's features, and
a codebook spends its entries where the variance is. Whitened, every direction counts alike: the
encoder decides by what it puts there, and its scale makes no difference.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiogen.codecs.processes import sum_over_processes

FLOOR = 1e-5
"""Least variance of a direction, as a share of the mean variance."""


class Whitening(nn.Module):
    """Symmetric whitening (ZCA; Kessy et al. 2018, arXiv 1512.00809) of D channels.

    Before the first training batch it changes nothing. Gradients see the statistics as constants.

    Attributes:
        mean: running mean (D,), of which `weight` is filled.
        moments: running second moments (D, D), likewise.
        weight: () in [0, 1], 1 - decay to the power of the number of batches.
        matrix: (D, D), the inverse root of the covariance.
    """

    mean: Tensor
    moments: Tensor
    weight: Tensor
    matrix: Tensor
    averages_itself = True

    def __init__(self, dim: int, *, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("moments", torch.zeros(dim, dim))
        self.register_buffer("weight", torch.zeros(()))
        self.register_buffer("matrix", torch.eye(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Whiten frames (..., D); while training, with statistics that include them."""
        if self.training:
            self._learn(x.detach().flatten(0, -2))
        return (x - self.mean / self.weight.clamp_min(1e-9)) @ self.matrix

    @torch.no_grad()
    def _learn(self, frames: Tensor) -> None:
        """Take frames (N, D) into the statistics."""
        found = torch.cat([frames, torch.ones_like(frames[:, :1])], dim=1)
        found = sum_over_processes(found.T @ found)
        if not bool(found.isfinite().all()):
            return  # the loss is not finite either, and the step is left out
        found = found / found[-1, -1]
        self.mean.lerp_(found[-1, :-1], 1 - self.decay)
        self.moments.lerp_(found[:-1, :-1], 1 - self.decay)
        self.weight.lerp_(torch.ones_like(self.weight), 1 - self.decay)
        mean = self.mean / self.weight
        covariance = self.moments / self.weight - mean.outer(mean)
        values, vectors = torch.linalg.eigh(covariance)
        values = values.clamp_min(FLOOR * values.mean() + 1e-12)
        self.matrix.copy_(vectors / values.sqrt() @ vectors.T)
