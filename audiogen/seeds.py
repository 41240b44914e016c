"""Random numbers of a seed: every stream, seed and item draws numbers of its own, on any device."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from audiogen.limits import MAX_SEED

Stream = Literal[
    "start",  # noise that a take begins from, or chances by which its tokens are drawn
    "variation",  # noise that a variation turns towards
    "solver",  # noise that stochastic samplers add on the way
    "grain",  # noise that a codec's decoder begins from
    "likelihood",  # noise and random signs of the likelihood's estimate
    "path",  # seeds of the paths that distillation learns from
    "list",  # seeds of a list of prompts
    "step",  # what a training step draws
    "weights",  # a model before its first step
    "order",  # of the clips in an epoch
    "clip",  # which part of a recording is learnt, and how
    "prior",  # takes of the model that training began from
    "mixture",  # which two recordings are mixed
    "mixing",  # and how
    "metric",  # noise that sounds are compared with
]


def hashed_seed(stream: Stream, seed: int, *item: int | str) -> int:
    """Return a seed from 0 to 2^63 - 1 that tells streams, seeds and items apart."""
    text = "/".join(map(str, (stream, seed, *item)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def later_seed(seed: int, steps: int) -> int:
    """Return the seed that comes `steps` after another; behind the last one comes 0."""
    return (seed + steps) % (MAX_SEED + 1)


def numbers_of(stream: Stream, seed: int, *item: int | str) -> np.random.Generator:
    """Return a source of random numbers that no other stream, seed or item shares.

    They are drawn on the CPU, so that devices agree. A `torch.Generator` would not do: that of a
    CPU keeps the low 32 bits of its seed alone.
    """
    return np.random.default_rng(hashed_seed(stream, seed, *item))


def normal(source: np.random.Generator, *shape: int) -> Tensor:
    """Draw standard normal numbers, float32."""
    return torch.from_numpy(source.standard_normal(shape, dtype=np.float32))


def noise_source(
    stream: Stream, seeds: Sequence[int], channels: int, lengths: Sequence[int]
) -> Callable[[], Tensor]:
    """Make a source of standard normal noise (B, channels, L), new at each call.

    Item b depends on seed b alone, on any device: at the first call a longer item begins as a
    shorter one of the same seed. Behind its end are zeros.

    Args:
        stream: what the noise is for.
        seeds: one per item.
        channels: D.
        lengths: frames of each item; L is the largest.
    """
    sources = [numbers_of(stream, seed) for seed in seeds]

    def draw() -> Tensor:
        noise = torch.zeros(len(sources), channels, max(lengths))
        for row, source, length in zip(noise, sources, lengths, strict=True):
            row[:, :length] = normal(source, length, channels).T
        return noise

    return draw
