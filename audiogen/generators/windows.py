"""Sounds longer than the training window, and sounds on a ring: one function over windows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

OnFrames = Callable[[Tensor, Tensor], Tensor]
"""(x (B, D, W), frames (W,): which frames of the whole these are) -> (B, D, W)."""


def over_windows(
    function: OnFrames, x: Tensor, window: int, *, ring_offset: int | None = None
) -> Tensor:
    """Apply `function` to overlapping windows of x and blend what it returns.

    The windows share one noisy signal, so that the ODE over the blend is one coherent sound
    (MultiDiffusion; Bar-Tal et al. 2023, eq. 5, with triangular weights).

    Args:
        function: sees one window of every item.
        x: (B, D, L).
        window: frames; x no longer than this is one window.
        ring_offset: None for a sound with two ends. Else the last frame is followed by the first,
            and windows begin at this frame; callers draw a new one for each evaluation, so that
            no place of the ring stays at a window's edge.

    Returns:
        (B, D, L).
    """
    num_frames = x.shape[-1]
    everything = torch.arange(num_frames, device=x.device)
    if num_frames <= window:
        if ring_offset is None:
            return function(x, everything)
        turned = everything.roll(-ring_offset)
        out = torch.empty_like(x)
        out[..., turned] = function(x[..., turned], turned)
        return out
    ramp = torch.arange(1, window + 1, device=x.device)
    weight = torch.minimum(ramp, ramp.flip(0)).to(x.dtype)
    total, weights = torch.zeros_like(x), torch.zeros_like(x[0, 0])
    for start in _starts(num_frames, window, ring_offset):
        frames = (start + everything[:window]) % num_frames
        total[..., frames] += weight * function(x[..., frames], frames)
        weights[frames] += weight
    return total / weights


def _starts(num_frames: int, window: int, ring_offset: int | None) -> list[int]:
    """First frames of windows that overlap by at least about a half."""
    stride = max(1, window // 2)
    if ring_offset is not None:
        count = -(-num_frames // stride)
        return [ring_offset + round(k * num_frames / count) for k in range(count)]
    count = -(-(num_frames - window) // stride) + 1
    return [round(k * (num_frames - window) / (count - 1)) for k in range(count)]
