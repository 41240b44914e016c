"""Tokens of a pitch and a periodicity, by a grid that is fixed and not learnt.

Where a sound is hardly periodic its pitch is hardly heard, and has few values; where it is
periodic it has many. Levels of periodicity p are equally far apart in sqrt(1 - p), the amplitude of
what does not repeat, so that they are closest near 1, where a little noise is heard most.

Pitches above those of voices and most instruments are rare, and have no entries of their own: they
are told whole octaves lower, where they are among the harmonics.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.audio.pitch import HIGHEST_HZ, LOWEST_HZ, MIDDLE

TOP_HZ = 1800.0
"""The highest pitch with an entry."""
ROUNDING = 1e-4
"""Octaves above the top that are still at it."""
LOW, TOP, HIGH = (math.log2(hertz) - MIDDLE for hertz in (LOWEST_HZ, TOP_HZ, HIGHEST_HZ))
LEVELS, HOARSE_LEVELS = 6, 2
"""Of periodicity in all, and those of the lowest, which have few pitches."""
CLEAR_SHARE = (29, 128)
"""Of all entries that each of the other levels has: 232 of 1024 pitches, 24 cents apart."""
SMALLEST_VOCABULARY = 16
"""Entries with three pitches, one and a half octaves apart, at each level that is clear."""


def pitches_per_level(vocab_size: int) -> list[int]:
    """How many pitches each level has, the least periodic one first; together `vocab_size`.

    >>> pitches_per_level(1024)
    [48, 48, 232, 232, 232, 232]

    Raises:
        ValueError: the vocabulary is too small for that.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise ValueError(
            f"a codebook of pitches needs at least {SMALLEST_VOCABULARY} entries, got {vocab_size}"
        )
    numerator, denominator = CLEAR_SHARE
    clear = [vocab_size * numerator // denominator] * (LEVELS - HOARSE_LEVELS)
    left = vocab_size - sum(clear)
    return [(left + 1) // 2, left // 2, *clear]


class PitchTokens(nn.Module):
    """A codebook of `vocab_size` pairs of pitch and periodicity, which nothing changes.

    An entry is the middle of its cell, and what lies beyond the bounds belongs to the outermost
    cell. Of several pitches at once, each pair would have a codebook of its own.
    """

    grid: Tensor
    counts: Tensor
    firsts: Tensor

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        counts = pitches_per_level(vocab_size)
        per_level = torch.tensor(counts)
        level = torch.arange(LEVELS).repeat_interleave(per_level, output_size=vocab_size)
        firsts = per_level.cumsum(0) - per_level
        within = torch.arange(vocab_size) - firsts[level]
        places = (within.double() + 0.5) / per_level[level]
        noise = 1 - (level.double() + 0.5) / LEVELS
        pairs = torch.stack([LOW + (TOP - LOW) * places, 1 - noise.square()], dim=1)
        self.register_buffer("grid", pairs.float(), persistent=False)  # (V, 2)
        self.register_buffer("counts", per_level, persistent=False)  # (levels,)
        self.register_buffer("firsts", firsts, persistent=False)  # (levels,)

    def tokens(self, measured: Tensor) -> Tensor:
        """Tokens (B, 1, L) int64 of pitch in octaves from `MIDDLE` and periodicity, (B, 2, L)."""
        pitch, periodicity = measured.double().unbind(1)
        noise = (1 - periodicity.clamp(0, 1)).sqrt()
        # After a conversion, so that what is no number has a token too.
        level = ((1 - noise) * LEVELS).long().clamp(0, LEVELS - 1)
        count = self.counts[level]
        pitch = pitch.clamp(LOW, HIGH)
        octaves = (pitch - TOP - ROUNDING).clamp_min(0).ceil()
        place = (pitch - octaves - LOW) / (TOP - LOW)
        within = (place * count).long().clamp_min(0).minimum(count - 1)
        return (self.firsts[level] + within)[:, None]

    def measured(self, tokens: Tensor) -> Tensor:
        """Pitch in octaves from `MIDDLE` and periodicity, (B, 2, L), of tokens (B, 1, L)."""
        return F.embedding(tokens[:, 0].long(), self.grid).transpose(1, 2)
