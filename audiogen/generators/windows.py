"""Sounds longer than the training window, and sounds on a ring: one function over windows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.generators.request import Request

OnWindows = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x (R, D, W), items (R,), frames (R, W)) -> (R, D, W): which frames of which items R windows of
the whole are."""

OnBatch = Callable[[Request], Tensor]
"""A request of some items -> what is made of them (B, D, L)."""

ROWS_AT_ONCE = 64
"""Windows in one call of the function, at most; they do not depend on each other."""


def in_batches(function: OnBatch, request: Request, window: int) -> Tensor:
    """Make the items of a request in batches that `over_windows` can take.

    In a batch all items are longer than the window or none is. A ring that is a single window has
    no padding, so that it needs items of its own length.

    Returns:
        (B, D, L), zeros behind the end of an item.
    """
    lengths, longest = request.lengths, max(request.lengths)
    keys = [-1 if length > window else length * request.ring for length in lengths]
    rows: dict[int, Tensor] = {}
    for key in dict.fromkeys(keys):
        items = [item for item, own in enumerate(keys) if own == key]
        made = function(request[items])
        rows.update(zip(items, F.pad(made, (0, longest - made.shape[-1])), strict=True))
    return torch.stack([rows[item] for item in range(len(keys))])


def over_windows(
    function: OnWindows,
    x: Tensor,
    window: int,
    *,
    lengths: Sequence[int],
    turn: float | None = None,
) -> Tensor:
    """Apply `function` to overlapping windows of x and blend what it returns.

    The windows share one noisy signal, so that the ODE over the blend is one coherent sound
    (MultiDiffusion; Bar-Tal et al. 2023, eq. 5, with triangular weights).

    Args:
        function: sees windows of any items, in any number.
        x: (B, D, L), items of one of the batches of `in_batches`.
        window: frames; x no longer than this is one window.
        lengths: frames of each item; what is behind them is left out of windows.
        turn: None for sounds with two ends. Else the last frame of an item is followed by the
            first, and its windows begin at this part of it, from 0 to 1; callers draw a new one
            for each evaluation, so that no place of the ring stays at a window's edge.

    Returns:
        (B, D, L).
    """
    device = x.device
    offsets = [None if turn is None else int(turn * length) for length in lengths]
    if x.shape[-1] <= window:
        items = torch.arange(len(x), device=device)
        frames = torch.arange(x.shape[-1], device=device).expand(len(x), -1)
        if turn is None:
            return function(x, items, frames)
        frames = (frames + torch.tensor(offsets, device=device)[:, None]) % x.shape[-1]
        turned = function(_taken(x, items, frames), items, frames)
        return torch.empty_like(x).scatter_(2, frames[:, None].expand_as(turned), turned)
    ranges = zip(lengths, offsets, strict=True)
    starts = [_starts(length, window, offset) for length, offset in ranges]
    # The first window of each item, then the second of each that has one, and so on.
    rounds = [
        [(item, start) for item, start in enumerate(each) if start is not None]
        for each in itertools.zip_longest(*starts)
    ]
    items, begins = torch.tensor([row for each in rounds for row in each], device=device).unbind(1)
    ends = torch.tensor(lengths, device=device)[items]
    frames = (begins[:, None] + torch.arange(window, device=device)) % ends[:, None]
    blocks = zip(torch.split(items, ROWS_AT_ONCE), torch.split(frames, ROWS_AT_ONCE), strict=True)
    out = torch.cat([function(_taken(x, *block), *block) for block in blocks])
    ramp = torch.arange(1, window + 1, device=device)
    weight = torch.minimum(ramp, ramp.flip(0)).to(x.dtype)
    total, weights = torch.zeros_like(x), torch.zeros_like(x[:, 0])
    sizes = [len(each) for each in rounds]
    parts = (torch.split(tensor, sizes) for tensor in (out, items, frames))
    for piece, item, place in zip(*parts, strict=True):  # in a round, no frame is met twice
        total[item[:, None], :, place] += (weight * piece).transpose(1, 2)
        weights[item[:, None], place] += weight
    return total / weights.clamp_min(1)[:, None]


def _taken(x: Tensor, items: Tensor, frames: Tensor) -> Tensor:
    """Frames (R, W) of items (R,) of x (B, D, L): (R, D, W)."""
    return x[items[:, None], :, frames].transpose(1, 2)


def _starts(num_frames: int, window: int, ring_offset: int | None) -> list[int]:
    """First frames of windows that overlap by at least about a half."""
    stride = max(1, window // 2)
    if ring_offset is not None:
        count = -(-num_frames // stride)
        return [ring_offset + round(k * num_frames / count) for k in range(count)]
    count = -(-(num_frames - window) // stride) + 1
    return [round(k * (num_frames - window) / (count - 1)) for k in range(count)]
