"""Codebook patterns: in which order the K codebooks of L frames are generated.

A pattern is a layout (S, K) that says which frame of codebook k is generated at step s, or `HOLE`
for none (Copet et al. 2023, MusicGen, arXiv 2306.05284, section 2.2). At a step a model sees what
earlier steps hold; what one step holds is generated at once. In every codebook the frames come in
their order, each once. One function makes each layout; `build` and `revert` serve them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

PatternName = Literal["delay", "parallel", "flattened", "coarse_first"]
HOLE = -1
"""Stands in a layout where a step holds no frame of a codebook."""


def delay(num_codebooks: int, num_frames: int) -> Tensor:
    """Codebook k comes k steps late: S = L + K - 1."""
    return _shifted(torch.arange(num_codebooks), num_frames)


def parallel(num_codebooks: int, num_frames: int) -> Tensor:
    """All codebooks of a frame at once: S = L."""
    return _shifted(torch.zeros(num_codebooks, dtype=torch.int64), num_frames)


def coarse_first(num_codebooks: int, num_frames: int) -> Tensor:
    """The first codebook of all frames, then the others at once: S = 2 L (VALL-E's order)."""
    return _shifted((torch.arange(num_codebooks) > 0) * num_frames, num_frames)


def flattened(num_codebooks: int, num_frames: int) -> Tensor:
    """One codebook after the other, frame by frame: S = K L."""
    steps = torch.arange(num_codebooks * num_frames)[:, None]
    own = steps % num_codebooks == torch.arange(num_codebooks)
    return torch.where(own, steps // num_codebooks, HOLE)


def _shifted(shifts: Tensor, num_frames: int) -> Tensor:
    """Layout in which codebook k begins at step `shifts[k]` and runs without a gap."""
    frames = torch.arange(num_frames + int(shifts.max()))[:, None] - shifts
    return torch.where((frames >= 0) & (frames < num_frames), frames, HOLE)


PATTERNS: Mapping[PatternName, Callable[[int, int], Tensor]] = {
    "delay": delay,
    "parallel": parallel,
    "flattened": flattened,
    "coarse_first": coarse_first,
}


def build(layout: Tensor, tokens: Tensor, fill: int) -> Tensor:
    """Lay tokens (B, K, L) out as a sequence (B, K, S), by a layout (S, K); `fill` is in holes."""
    frames = layout.T.expand(len(tokens), -1, -1)
    return tokens.gather(2, frames.clamp_min(0)).masked_fill(frames == HOLE, fill)


def revert(layout: Tensor, sequence: Tensor) -> Tensor:
    """Take frames (B, K, L) out of a sequence (B, K, S), by a layout (S, K) over L frames."""
    steps, codebooks = (layout != HOLE).nonzero(as_tuple=True)
    step_of = layout.new_empty(layout.shape[1], int(layout.max()) + 1)
    step_of[codebooks, layout[steps, codebooks]] = steps
    rows = torch.arange(layout.shape[1], device=layout.device)[:, None]
    return sequence[:, rows, step_of]
