"""Drawing tokens: transformers' warpers as another implementation, and exact frequencies."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiogen.generators.sampling import TokenSamplingConfig
from audiogen.generators.tokens.drawing import (
    candidates,
    draw_chances,
    draw_tokens,
    sources_of,
    temperatures,
)

ALL = TokenSamplingConfig()


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), top_k=st.integers(0, 40), top_p=st.floats(0.01, 1.0))
def test_candidates_are_those_of_transformers(seed: int, top_k: int, top_p: float) -> None:
    from transformers import TopKLogitsWarper, TopPLogitsWarper  # noqa: PLC0415 (slow to import)

    logits = torch.randn(5, 30, generator=torch.Generator().manual_seed(seed)) * 3
    expected = logits
    ids = torch.zeros(5, 1, dtype=torch.int64)
    if top_k:
        expected = TopKLogitsWarper(top_k)(ids, expected)
    if top_p < 1:
        expected = TopPLogitsWarper(top_p)(ids, expected)
    torch.testing.assert_close(candidates(logits, top_k=top_k, top_p=top_p), expected)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_token_comes_as_often_as_it_is_likely(temperature: float) -> None:
    logits, count = torch.tensor([0.3, -1.0, 2.0, 0.0, -30.0, 1.0]), 10_000
    logits[3] = -torch.inf
    chances = (torch.arange(count, dtype=torch.float64) + 0.5)[:, None] / count
    drawn = draw_tokens(logits.expand(count, 1, -1), chances, torch.tensor([temperature]), ALL)
    found = drawn.flatten().bincount(minlength=6) / count
    # Even chances leave nothing to luck: a count is off by less than two.
    expected = (logits / temperature).softmax(dim=0)
    torch.testing.assert_close(found, expected, rtol=0, atol=2 / count)
    assert found[3] == 0


@settings(deadline=None)
@given(
    top_k=st.integers(1, 6),
    top_p=st.floats(0.05, 1.0),
    chance=st.sampled_from([0.0, 1 - 2**-53, 0.5]),
)
def test_a_forbidden_token_is_never_drawn(top_k: int, top_p: float, chance: float) -> None:
    logits = torch.tensor([-torch.inf, 1.0, -torch.inf, -torch.inf, 0.3, -torch.inf])
    sampling = TokenSamplingConfig(top_k=top_k, top_p=top_p)
    chances = torch.tensor([[chance]], dtype=torch.float64)
    assert int(draw_tokens(logits[None, None], chances, torch.ones(1), sampling)) in {1, 4}


def test_no_temperature_takes_the_most_likely() -> None:
    logits, temperature = torch.randn(4, 3, 20), torch.tensor([0.0, 1.0, 0.0])
    for chances in (torch.zeros(4, 3).double(), torch.full((4, 3), 0.99).double()):
        drawn = draw_tokens(logits, chances, temperature, ALL)
        assert torch.equal(drawn[:, [0, 2]], logits[:, [0, 2]].argmax(dim=-1))
    assert not torch.equal(drawn[:, 1], logits[:, 1].argmax(dim=-1))


def test_each_codebook_has_its_temperature() -> None:
    sampling = TokenSamplingConfig(temperature=(0.5, 1.0, 2.0))
    each = temperatures(sampling, 3)
    logits = torch.randn(500, 1, 8).expand(-1, 3, -1)
    chances = draw_chances(sources_of(range(500)), [1] * 500, 1).expand(-1, -1, 3)[:, 0]
    drawn = draw_tokens(logits, chances, each, sampling)
    for codebook, temperature in enumerate((0.5, 1.0, 2.0)):
        own = logits[:, codebook], chances[:, codebook]
        assert torch.equal(drawn[:, codebook], draw_tokens(*own, torch.tensor(temperature), ALL))
    with pytest.raises(ValueError, match="3 temperatures for 4 codebooks"):
        temperatures(sampling, 4)
    alike = temperatures(TokenSamplingConfig(temperature=0.7), 4)
    torch.testing.assert_close(alike, torch.full((4,), 0.7))


def test_chances_belong_to_an_item() -> None:
    together = draw_chances(sources_of([1, 2, 3]), [4, 9, 6], 2)
    assert together.shape == (3, 9, 2)
    for index, (seed, length) in enumerate([(1, 4), (2, 9), (3, 6)]):
        alone = draw_chances(sources_of([seed]), [length], 2)
        assert torch.equal(together[index, :length], alone[0])
        assert not bool(together[index, length:].any())
    source = sources_of([1])
    assert not torch.equal(draw_chances(source, [4], 2), draw_chances(source, [4], 2))
