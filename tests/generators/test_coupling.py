"""Optimal transport between noise and latents: the cheapest pairs, over real frames alone."""

import itertools

import torch
from torch import Tensor

from audiogen.generators import FlowConfig, build_generator
from audiogen.generators.ode.coupling import couple
from audiogen.generators.ode.flow import FlowGenerator
from audiogen.types import LatentSpec


def cost(clean: Tensor, noise: Tensor, mask: Tensor, order: Tensor) -> float:
    """Sum of squared distances over real frames."""
    return float(((clean - noise[order]) * mask[:, None]).square().sum())


def test_few_items_are_paired_as_no_other_order_pairs_them_cheaper() -> None:
    clean, noise = torch.randn(2, 5, 3, 7)
    mask = torch.arange(7) < torch.tensor([7, 4, 1, 6, 7])[:, None]
    order = couple(clean, noise, mask)
    assert sorted(order.tolist()) == list(range(5))
    others = [torch.tensor(one) for one in itertools.permutations(range(5))]
    best = min(cost(clean, noise, mask, one) for one in others)
    assert abs(cost(clean, noise, mask, order) - best) < 1e-3
    behind = torch.where(mask[:, None], clean, 1e3)  # what is not real does not count
    assert torch.equal(couple(behind, noise, mask), order)


def test_lower_precision_changes_no_plan() -> None:
    clean, noise = torch.randn(6, 4, 9), torch.randn(6, 4, 9)
    mask = torch.ones(6, 9, dtype=torch.bool)
    order = couple(clean, noise, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(couple(clean, noise, mask), order)


def test_a_flow_that_couples_takes_the_same_noises_in_another_order() -> None:
    spec = LatentSpec(
        kind="continuous",
        channels=2,
        vocab_size=None,
        hop_length=512,
        sample_rate=16_000,
        audio_channels=1,
    )
    config = FlowConfig(dim=32, depth=1, num_heads=2, coupling="optimal_transport")
    coupled = build_generator(config, spec, text_dim=384, window_frames=8)
    plain = build_generator(
        config.model_copy(update={"coupling": "independent"}), spec, text_dim=384, window_frames=8
    )
    assert isinstance(coupled, FlowGenerator)
    assert isinstance(plain, FlowGenerator)
    clean, mask = torch.randn(6, 2, 8), torch.ones(6, 8, dtype=torch.bool)
    drawn = []
    for generator in (plain, coupled):
        torch.manual_seed(1)
        drawn.append(generator.draw_noise(clean, mask))
    own, paired = drawn
    assert not torch.equal(own, paired)
    assert torch.equal(own.flatten(1).sort(dim=0).values, paired.flatten(1).sort(dim=0).values)
    assert cost(clean, paired, mask, torch.arange(6)) < cost(clean, own, mask, torch.arange(6))
