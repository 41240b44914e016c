"""Guidance: the plain formula, each refinement, and every pair of them."""

import itertools

import pytest
import torch
from torch import Tensor

from audiogen.generators.guidance import Guidance
from audiogen.generators.sampling import ODESamplingConfig

OPTIONS = {
    "guidance_rescale": 0.7,
    "guidance_parallel": 0.0,
    "guidance_norm": 0.2,
    "guidance_momentum": -0.5,
}
ALL = torch.ones(3, dtype=torch.bool)


@pytest.fixture
def predictions() -> tuple[Tensor, Tensor]:
    """A conditional and an unconditional prediction (3, 4, 5)."""
    return torch.randn(3, 4, 5), torch.randn(3, 4, 5)


def guide(pair: tuple[Tensor, Tensor], mask: Tensor | None = None, **options: float) -> Tensor:
    return Guidance(ODESamplingConfig(**options), mask)(*pair, ALL)


def test_one_is_off_and_zero_is_unconditional(predictions: tuple[Tensor, Tensor]) -> None:
    conditional, unconditional = predictions
    torch.testing.assert_close(guide(predictions, guidance_scale=1.0), conditional)
    torch.testing.assert_close(guide(predictions, guidance_scale=0.0), unconditional)
    beyond = guide(predictions, guidance_scale=3.0) - conditional
    torch.testing.assert_close(beyond, 2 * (conditional - unconditional))


def test_items_that_are_not_active_stay_conditional(predictions: tuple[Tensor, Tensor]) -> None:
    active = torch.tensor([True, False, True])
    out = Guidance(ODESamplingConfig(guidance_scale=4.0), None)(*predictions, active)
    torch.testing.assert_close(out[1], predictions[0][1])
    assert not torch.allclose(out[0], predictions[0][0])


def test_rescale_restores_the_deviation(predictions: tuple[Tensor, Tensor]) -> None:
    out = guide(predictions, guidance_scale=8.0, guidance_rescale=1.0)
    torch.testing.assert_close(out.flatten(1).std(1), predictions[0].flatten(1).std(1))


def test_without_the_parallel_part_guidance_is_orthogonal(
    predictions: tuple[Tensor, Tensor],
) -> None:
    out = guide(predictions, guidance_scale=5.0, guidance_parallel=0.0)
    change = (out - predictions[0]) * predictions[0]
    torch.testing.assert_close(change.sum((1, 2)), torch.zeros(3), atol=1e-4, rtol=0)


def test_the_norm_limits_the_direction(predictions: tuple[Tensor, Tensor]) -> None:
    out = guide(predictions, guidance_scale=2.0, guidance_norm=0.2)
    change = (out - predictions[0]).square().mean((1, 2)).sqrt()
    torch.testing.assert_close(change, torch.full((3,), 0.2))
    loose = guide(predictions, guidance_scale=2.0, guidance_norm=100.0)
    torch.testing.assert_close(loose, guide(predictions, guidance_scale=2.0))


def test_momentum_takes_away_what_was_done_before(predictions: tuple[Tensor, Tensor]) -> None:
    guidance = Guidance(ODESamplingConfig(guidance_scale=2.0, guidance_momentum=-0.5), None)
    first = guidance(*predictions, ALL) - predictions[0]
    second = guidance(*predictions, ALL) - predictions[0]
    torch.testing.assert_close(second, first / 2)


@pytest.mark.parametrize("pair", itertools.combinations(OPTIONS, 2), ids="+".join)
@pytest.mark.parametrize("padded", [False, True])
def test_every_pair_of_options_works_per_item(
    predictions: tuple[Tensor, Tensor], pair: tuple[str, str], padded: bool
) -> None:
    options = {name: OPTIONS[name] for name in pair}
    mask, length = torch.ones(3, 5, dtype=torch.bool), 3 if padded else 5
    if padded:
        mask[:, 3:] = False
        for prediction in predictions:
            prediction[:, :, 3:] = 1000.0  # what is behind an item's end must not count
    later = [prediction.flip(1).roll(1, 0) for prediction in predictions]
    rows = [[p[1:2, :, :length] for p in both] for both in (predictions, later)]
    sampling = ODESamplingConfig(guidance_scale=3.0, **options)
    together, alone = Guidance(sampling, mask), Guidance(sampling, None)
    for both, one in zip((predictions, later), rows, strict=True):
        whole = together(both[0], both[1], ALL)[1:2, :, :length]
        single = alone(one[0], one[1], ALL[:1])
        torch.testing.assert_close(whole, single)
    for name in pair:
        rest = ODESamplingConfig(guidance_scale=3.0, **{k: options[k] for k in pair if k != name})
        other = Guidance(rest, None)
        for one in rows:  # momentum acts from the second evaluation on
            without = other(one[0], one[1], ALL[:1])
        assert not torch.allclose(single, without), f"{name} has no effect beside the other"
