"""Drawing tokens from logits: temperature, top-k, top-p, and chances that belong to an item."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from audiogen.generators.sampling import TokenSamplingConfig
from audiogen.seeds import numbers_of


def sources_of(seeds: Sequence[int]) -> list[np.random.Generator]:
    """One source of random numbers per item."""
    return [numbers_of("start", seed) for seed in seeds]


def draw_chances(
    sources: Sequence[np.random.Generator], lengths: Sequence[int], width: int
) -> Tensor:
    """Draw uniform numbers in [0, 1), (B, L, width) float64 on the CPU.

    Item b gets what its own source and length decide; behind its end are zeros.

    Args:
        sources: one per item.
        lengths: rows of each item; L is the largest.
        width: numbers in a row.
    """
    chances = torch.zeros(len(sources), max(lengths), width, dtype=torch.float64)
    for rows, source, length in zip(chances, sources, lengths, strict=True):
        rows[:length] = torch.from_numpy(source.random((length, width)))
    return chances


def candidates(logits: Tensor, *, top_k: int, top_p: float) -> Tensor:
    """Set the logits (..., V) of what is not to be drawn to minus infinity.

    Args:
        logits: of V tokens.
        top_k: keeps the k most likely tokens, and those as likely as the last of them; 0 keeps all.
        top_p: keeps the fewest most likely of these whose probabilities reach p (Holtzman et al.
            2020, arXiv 1904.09751, eq. 2); 1 keeps all.
    """
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p < 1:
        rising, order = logits.sort(dim=-1)
        outside = rising.softmax(dim=-1).cumsum(dim=-1) <= 1 - top_p
        outside[..., -1] = False  # rounding must not leave nothing
        logits = logits.masked_fill(outside.scatter(-1, order, outside), -torch.inf)
    return logits


def temperatures(sampling: TokenSamplingConfig, num_codebooks: int) -> Tensor:
    """The temperature of each codebook (K,); ValueError when `sampling` has other ones."""
    given = sampling.temperature
    each = given if isinstance(given, tuple) else (given,) * num_codebooks
    if len(each) != num_codebooks:
        raise ValueError(
            f"sample: {len(each)} temperatures for {num_codebooks} codebooks;"
            " give one for each, or one number for all"
        )
    return torch.tensor(each)


def draw_tokens(
    logits: Tensor, chances: Tensor, temperature: Tensor, sampling: TokenSamplingConfig
) -> Tensor:
    """Draw tokens.

    Args:
        logits: of all codebooks (B, K, V), or of frames of one (B, L, V); minus infinity where a
            token is forbidden.
        chances: one uniform number in [0, 1) per token to draw, float64.
        temperature: of each codebook (K,), or of the one (); 0 takes the most likely token.
        sampling: says which are `candidates`.

    Returns:
        (B, K) or (B, L), int64. Each is the inverse of the distribution's cumulative sum at its
        chance, so that a token comes as often as it is likely, and a forbidden one never.
    """
    cold = temperature == 0
    warm = logits / temperature.masked_fill(cold, 1)[..., None]
    kept = candidates(warm, top_k=sampling.top_k, top_p=sampling.top_p)
    total = kept.softmax(dim=-1).cumsum(dim=-1, dtype=torch.float64)
    # A chance below one times the last sum is below that sum: no entry behind it is reached,
    # and an entry of no probability is never the first whose sum is larger.
    place = (chances * total[..., -1])[..., None]
    drawn = torch.searchsorted(total, place, right=True)[..., 0]
    return torch.where(cold, logits.argmax(dim=-1), drawn)
