"""Streams of an item's seed, and noise in which every item depends on its own seed alone.

A seed plus one of the streams draws numbers apart from those of the seed itself, which are the
noise that a take is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

NOISE_STREAM = 1 << 40
"""Noise that a codec's decoder starts from."""
FRESH_NOISE = 1 << 41
"""Noise that stochastic samplers add, apart from that of the start."""
LIKELIHOOD_STREAM = 1 << 42
"""Noise and random signs of the likelihood's estimate."""
PATH_SEEDS = 1 << 43
"""Seeds of the paths that distillation learns from: takes have other ones."""
VARIATION_STREAM = 1 << 44
"""Noise of variations: no take has it, so that a variation is never mixed with its own noise."""


def noise_source(
    seeds: Sequence[int], channels: int, lengths: Sequence[int]
) -> Callable[[], Tensor]:
    """Make a source of standard normal noise (B, channels, L), new at each call.

    Item b depends on seed b and its own length alone, on any device; behind its end are zeros.

    Args:
        seeds: one per item.
        channels: D.
        lengths: frames of each item; L is the largest.
    """
    sources = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw() -> Tensor:
        noise = torch.zeros(len(sources), channels, max(lengths))
        for row, source, length in zip(noise, sources, lengths, strict=True):
            row[:, :length] = torch.randn(channels, length, generator=source)
        return noise

    return draw
