"""The codebook of pitches: what a round trip keeps, and that every entry stands for itself."""

import math

import pytest
import torch
from torch import Tensor

from audiogen.codecs.bottlenecks.pitch_tokens import (
    HIGH,
    LOW,
    SMALLEST_VOCABULARY,
    TOP,
    PitchTokens,
    pitches_per_level,
)

SIZES = [*range(SMALLEST_VOCABULARY, 70), 256, 1000, 1024, 1 << 16]


def pairs(pitch: Tensor, periodicity: Tensor) -> Tensor:
    """One item (1, 2, L)."""
    return torch.stack([pitch, periodicity])[None]


def entries(book: PitchTokens, vocab_size: int) -> Tensor:
    """What all tokens stand for (2, V)."""
    return book.measured(torch.arange(vocab_size)[None, None])[0]


@pytest.mark.parametrize("vocab_size", SIZES)
def test_every_entry_stands_for_itself(vocab_size: int) -> None:
    book = PitchTokens(vocab_size)
    assert sum(pitches_per_level(vocab_size)) == vocab_size
    assert min(pitches_per_level(vocab_size)) >= 1
    assert min(pitches_per_level(vocab_size)[2:]) >= 3
    tokens = torch.arange(vocab_size)[None, None]
    found = book.measured(tokens)
    assert found.shape == (1, 2, vocab_size)
    assert torch.equal(book.tokens(found), tokens)
    assert float(found[0, 0].min()) > LOW
    assert float(found[0, 0].max()) < TOP
    assert 0 < float(found[0, 1].min()) < float(found[0, 1].max()) < 1


def test_a_thousand_entries_are_near_what_was_measured() -> None:
    book = PitchTokens(1024)
    pitch = LOW + (TOP - LOW) * torch.rand(100_000)
    periodicity = torch.rand(100_000)
    [found] = book.measured(book.tokens(pairs(pitch, periodicity)))
    cents = 1200 * (found[0] - pitch).abs()
    assert float(cents.max()) < 60
    assert float(cents[periodicity > 0.56].max()) < 12.2
    errors = (found[1] - periodicity).abs()
    assert float(errors.max()) < 0.17
    assert float(errors[periodicity > 0.56].max()) < 0.11
    assert float(errors[periodicity > 0.9].max()) < 0.05


@pytest.mark.parametrize("vocab_size", [16, 27, 1024])
def test_the_order_of_pitches_and_periodicities_stays(vocab_size: int) -> None:
    book = PitchTokens(vocab_size)
    rise = torch.linspace(0, 1, 5000)
    for periodicity in (0.0, 0.4, 0.6, 0.8, 0.95, 1.0):
        whole = pairs(LOW + (TOP - LOW) * rise, torch.full((5000,), periodicity))
        tokens = book.tokens(whole)
        assert bool((tokens.diff() >= 0).all())
        assert bool((book.measured(tokens)[0, 0].diff() >= 0).all())
    for pitch in (LOW, 0.0, 1.3, HIGH):
        tokens = book.tokens(pairs(torch.full((5000,), pitch), rise))
        assert bool((tokens.diff() >= 0).all())
        assert bool((book.measured(tokens)[0, 1].diff() >= 0).all())


def test_pitches_without_an_entry_are_told_octaves_lower() -> None:
    book = PitchTokens(1024)
    pitch = torch.tensor([TOP + 0.01, TOP + 0.9, TOP + 1.1, HIGH])
    [found] = book.measured(book.tokens(pairs(pitch, torch.ones(4))))
    lower = (pitch - found[0]).round()
    assert lower.tolist() == [1, 1, 2, 2]
    assert float(1200 * (pitch - lower - found[0]).abs().max()) < 12.2


def test_what_lies_beyond_the_bounds_is_at_them() -> None:
    book = PitchTokens(1024)
    wild = torch.tensor([-1e9, LOW - 1, HIGH + 1, 1e9, -math.inf, math.inf])
    tame = torch.tensor([LOW, LOW, HIGH, HIGH, LOW, HIGH])
    for periodicity, bound in ((-3.0, 0.0), (0.7, 0.7), (4.0, 1.0)):
        given = pairs(wild, torch.full((6,), periodicity))
        expected = book.tokens(pairs(tame, torch.full((6,), bound)))
        assert torch.equal(book.tokens(given), expected)
    broken = book.tokens(torch.full((1, 2, 3), math.nan))
    assert bool(((broken >= 0) & (broken < 1024)).all())


def test_an_entry_is_a_middle_and_the_same_everywhere() -> None:
    book = PitchTokens(1024)
    found = entries(book, 1024)
    assert torch.equal(found, entries(PitchTokens(1024), 1024))
    assert float(1200 * found[0, 96:328].diff().mean()) == pytest.approx(24.2, abs=0.1)
    assert found[1].unique().tolist() == pytest.approx(
        [1 - ((5.5 - level) / 6) ** 2 for level in range(6)]
    )
    assert not book.state_dict()
    tokens = book.tokens(torch.randn(3, 2, 7))
    assert tokens.shape == (3, 1, 7)
    assert tokens.dtype == torch.int64
    assert torch.equal(book.measured(tokens.to(torch.int32)), book.measured(tokens))


@pytest.mark.parametrize("vocab_size", [1, 2, SMALLEST_VOCABULARY - 1])
def test_a_vocabulary_that_is_too_small_is_refused(vocab_size: int) -> None:
    with pytest.raises(ValueError, match=f"at least 16 entries, got {vocab_size}"):
        PitchTokens(vocab_size)
