"""Whitening by running statistics: what varies anyhow is given mean 0 and covariance 1.

As the statistics of codebooks (see `codebooks`), these are no parameters: all processes of a
training see the same and hold the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiogen.nn.processes import sum_over_processes

FLOOR = 1e-5
"""Least variance, relative to the mean one, that is still scaled up."""


class Whitening(nn.Module):
    """Mean and covariance of d numbers in each of K places.

    Attributes:
        means: (K, d).
        covariances: (K, d, d).
        is_begun: whether a place (K,) has seen vectors.
        decay: weight of the past per step.
    """

    means: Tensor
    covariances: Tensor
    is_begun: Tensor
    averages_itself = True
    """As for `Codebooks`: an average of averages would lag behind the averaged weights."""

    def __init__(self, num_places: int, dim: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("means", torch.zeros(num_places, dim))
        self.register_buffer("covariances", torch.eye(dim).repeat(num_places, 1, 1))
        self.register_buffer("is_begun", torch.zeros(num_places, dtype=torch.bool))

    def whiten(self, index: int, vectors: Tensor) -> Tensor:
        """Vectors (..., d) of place `index` with mean 0 and covariance 1."""
        centred = (vectors - self.means[index]).flatten(0, -2).T
        white: Tensor = torch.linalg.solve_triangular(self._factor(index), centred, upper=False)
        return white.T.reshape(vectors.shape)

    def restore(self, index: int, vectors: Tensor) -> Tensor:
        """The inverse of `whiten`."""
        return vectors @ self._factor(index).T + self.means[index]

    @torch.no_grad()
    def learn(self, index: int, vectors: Tensor) -> None:
        """Move the statistics of place `index` towards those of vectors (N, d).

        Vectors that are not finite move nothing.
        """
        moved = vectors - self.means[index]  # so that little is lost where the mean is large
        marked = torch.cat([moved, torch.ones_like(moved[:, :1])], dim=1)
        products = sum_over_processes(marked.T @ marked)
        fine = products.isfinite().all()
        products = products / products[-1, -1]
        mean = torch.where(fine, products[-1, :-1], 0)
        covariance = products[:-1, :-1] - mean[:, None] * mean
        covariance = torch.where(fine, covariance, self.covariances[index])
        weight = torch.where(self.is_begun[index], 1 - self.decay, 1.0)
        self.means[index].add_(weight * mean)
        self.covariances[index].lerp_(covariance, weight)
        self.is_begun[index].logical_or_(fine)

    def _factor(self, index: int) -> Tensor:
        """Lower triangle (d, d) whose square is the covariance."""
        covariance = self.covariances[index]
        floor = FLOOR * covariance.diagonal().mean() + torch.finfo(covariance.dtype).tiny
        floors = floor * torch.eye(len(covariance), device=covariance.device)
        # Without a look at what came of it, for which a device would be waited.
        factor: Tensor = torch.linalg.cholesky_ex(covariance + floors).L
        return factor
