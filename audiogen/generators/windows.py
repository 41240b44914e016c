"""Sounds longer than the training window: one drift from overlapping windows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def over_windows(function: Callable[[Tensor], Tensor], x: Tensor, window: int) -> Tensor:
    """Apply `function` to overlapping windows of x and blend what it returns.

    The windows share one noisy signal, so that the ODE over the blend is one coherent sound
    (MultiDiffusion; Bar-Tal et al. 2023, eq. 5, with triangular weights).

    Args:
        function: maps (B, D, window) to the same shape; every call sees the whole batch.
        x: (B, D, L).
        window: frames; x no longer than this is passed on as it is.

    Returns:
        (B, D, L).
    """
    num_frames = x.shape[-1]
    if num_frames <= window:
        return function(x)
    count = -(-(num_frames - window) // (window // 2)) + 1
    starts = [round(k * (num_frames - window) / (count - 1)) for k in range(count)]
    ramp = torch.arange(1, window + 1, device=x.device)
    weight = torch.minimum(ramp, ramp.flip(0)).to(x.dtype)
    total, weights = torch.zeros_like(x), torch.zeros_like(x[:1, :1])
    for start in starts:
        piece = slice(start, start + window)
        total[..., piece] += weight * function(x[..., piece])
        weights[..., piece] += weight
    return total / weights
