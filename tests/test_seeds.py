"""Streams of random numbers: of any two, one tells nothing of the other."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
import pytest
import torch

from audiogen.generators.tokens.drawing import draw_chances, sources_of
from audiogen.limits import MAX_SEED
from audiogen.nn.chance import draws_of, randn
from audiogen.seeds import (
    Stream,
    hashed_seed,
    later_seed,
    noise_source,
    normal,
    numbers_of,
)
from audiogen.take_request import TakeRequest, Variation
from audiogen.types import LatentSpec

STREAMS: tuple[Stream, ...] = get_args(Stream)
SEEDS = (0, 1, 4, 2**31, 2**32, 2**32 + 4, 1 << 40, 1 << 44, 2**62, MAX_SEED)
SPEC = LatentSpec(
    kind="continuous",
    channels=100,
    vocab_size=None,
    hop_length=10,
    sample_rate=1000,
    audio_channels=1,
)


def largest_correlation(numbers: np.ndarray) -> float:
    """Of any two rows, which have mean 0 and variance 1."""
    matrix = numbers @ numbers.T / numbers.shape[1]
    spread = matrix[np.triu_indices(len(matrix), 1)]
    assert abs(float(spread.std()) * numbers.shape[1] ** 0.5 - 1) < 0.02
    assert abs(float(spread.mean())) < 1e-3
    return float(np.abs(spread).max())


def test_any_two_of_a_thousand_are_uncorrelated() -> None:
    wanted = list(itertools.islice(itertools.product(STREAMS, SEEDS, range(10)), 1000))
    rows = [normal(numbers_of(stream, seed, item), 10_000) for stream, seed, item in wanted]
    assert len(rows) == 1000
    assert largest_correlation(torch.stack(rows).numpy()) < 0.06  # six standard deviations


def test_draws_of_training_steps_are_uncorrelated() -> None:
    rows = []
    for seed, step in itertools.product(SEEDS, range(5)):
        with draws_of(seed, step, range(10)):
            rows += [randn((10, 10_000), torch.device("cpu")) for _ in range(2)]
    assert largest_correlation(torch.cat(rows).numpy()) < 0.06


def test_seeds_tell_streams_seeds_and_items_apart() -> None:
    wanted = list(itertools.product(STREAMS, SEEDS, range(100)))
    found = {hashed_seed(stream, seed, item) for stream, seed, item in wanted}
    assert len(found) == len(wanted)
    assert all(0 <= seed <= MAX_SEED for seed in found)
    assert len({seed & 0xFFFFFFFF for seed in found}) > 0.999 * len(found)  # what a CPU keeps
    assert hashed_seed("start", 1, 23) != hashed_seed("start", 12, 3)
    assert hashed_seed("start", 2**32, 0) != hashed_seed("start", 0, 1)


def test_seeds_come_one_after_the_other_and_begin_again() -> None:
    assert later_seed(7, 2) == 9
    assert later_seed(MAX_SEED, 1) == 0


def test_a_torch_generator_would_not_do() -> None:
    """The reason for numpy's: when this fails, torch keeps all bits, and either will do."""
    first, second = (torch.Generator().manual_seed(seed) for seed in (4, 2**32 + 4))
    assert torch.equal(torch.rand(9, generator=first), torch.rand(9, generator=second))


@pytest.mark.parametrize("stream", ["start", "solver"])
def test_a_longer_item_begins_as_a_shorter_one(stream: Stream) -> None:
    short = noise_source(stream, [5], 3, [20])()[0]
    together = noise_source(stream, [9, 5], 3, [7, 50])()
    assert torch.equal(together[1, :, :20], short)
    assert not together[0, :, 7:].any()
    chances = draw_chances(sources_of([5, 5]), [20, 50], 3)
    assert torch.equal(chances[0, :20], chances[1, :20])


@pytest.mark.parametrize("seed", [0, 7, 2**32, MAX_SEED])
@pytest.mark.parametrize("amount", [0.1, 0.5, 0.9, 1.0])
def test_a_variation_has_the_level_of_noise_and_is_another_take(seed: int, amount: float) -> None:
    source = noise_source("start", [seed], SPEC.channels, [100])()[0]
    made = TakeRequest(
        prompt="", seconds=1.0, seed=seed, variation=Variation(from_seed=seed, amount=amount)
    )
    noise = made.start_noise(SPEC)
    assert noise is not None
    assert float(noise.std()) == pytest.approx(1, abs=0.05)
    likeness = float((noise * source).mean())
    assert likeness == pytest.approx(np.cos(amount * np.pi / 2), abs=0.06)


def test_seeds_beyond_the_last_one_are_refused() -> None:
    assert TakeRequest(prompt="", seconds=1, seed=MAX_SEED).seed == MAX_SEED
    for wrong in (MAX_SEED + 1, -1):
        with pytest.raises(ValueError, match="seed"):
            TakeRequest(prompt="", seconds=1, seed=wrong)
