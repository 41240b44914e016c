"""The diffusion Transformer: zero at first, then moved by all that it is given."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from audiogen.nn.dit import DiT, level_features
from audiogen.types import Context

DIM, CHANNELS, FRAMES = 16, 4, 11
LEVEL = torch.tensor([0.1, -0.3])


def make(patch_frames: int = 1, *, infill: bool = False, zero: bool = False) -> DiT:
    network = DiT(CHANNELS, DIM, 2, 2, patch_frames, infill=infill)
    for parameter in network.parameters():
        if not zero:
            torch.nn.init.normal_(parameter, std=0.2)
    return network


def make_context() -> Context:
    return Context(
        sequence=torch.randn(2, 3, DIM),
        mask=torch.tensor([[True, True, True], [True, True, False]]),
        vector=torch.randn(2, DIM),
    )


def test_it_is_zero_at_first_and_learns_step_by_step() -> None:
    """What is behind zeros has no gradient until they have moved: all has one soon."""
    network, context = make(2, infill=True, zero=True), make_context()
    x, target = torch.randn(2, 2, CHANNELS, FRAMES)
    given = (torch.randn(2, CHANNELS, FRAMES), torch.rand(2, FRAMES) < 0.5)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    assert not bool(network(x, LEVEL, None, context, given=given).any())
    moved: set[str] = set()
    for _ in range(4):
        optimizer.zero_grad()
        out = network(x, LEVEL, None, context, given=given)
        (out - target).square().sum().backward()
        moved |= {name for name, p in network.named_parameters() if bool(p.grad.any())}
        optimizer.step()
    assert moved == {name for name, _ in network.named_parameters()}


@pytest.mark.parametrize("patch_frames", [1, 2, 3])
def test_padding_changes_nothing(patch_frames: int) -> None:
    network, context = make(patch_frames), make_context()
    mask = torch.arange(FRAMES)[None] < torch.tensor([[FRAMES], [7]])
    x = torch.randn(2, CHANNELS, FRAMES)
    out = network(x, LEVEL, mask, context)
    assert out.shape == x.shape
    spoiled = network(torch.where(mask[:, None], x, 9.0), LEVEL, mask, context)
    torch.testing.assert_close(out[1, :, :7], spoiled[1, :, :7])
    item = context[torch.tensor([1])]
    alone = network(x[1:, :, :7], LEVEL[1:], None, item)
    torch.testing.assert_close(out[1:, :, :7], alone, atol=1e-5, rtol=1e-5)


CHANGES: dict[str, Callable[[Context], Context]] = {
    "sequence": lambda context: replace(context, sequence=context.sequence + 1),
    "vector": lambda context: replace(context, vector=-context.vector),
    "mask": lambda context: replace(context, mask=context.mask.flip(0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_context_is_heard(change: str) -> None:
    network, context, x = make(), make_context(), torch.randn(2, CHANNELS, FRAMES)
    before = network(x, LEVEL, None, context)
    after = network(x, LEVEL, None, CHANGES[change](context))
    assert bool(((before - after).abs().amax(dim=(1, 2)) > 1e-3).all())


def test_what_the_context_hides_is_not_heard() -> None:
    network, context, x = make(), make_context(), torch.randn(2, CHANNELS, FRAMES)
    hidden = context.sequence.masked_fill(~context.mask[..., None], 9.0)
    after = network(x, LEVEL, None, replace(context, sequence=hidden))
    torch.testing.assert_close(network(x, LEVEL, None, context), after)


def test_the_noise_level_is_heard_by_its_own_item() -> None:
    network, context, x = make(), make_context(), torch.randn(2, CHANNELS, FRAMES)
    before = network(x, LEVEL, None, context)
    after = network(x, LEVEL + torch.tensor([0.0, 0.5]), None, context)
    torch.testing.assert_close(before[0], after[0])
    assert not torch.allclose(before[1], after[1], atol=1e-3)


def test_frames_are_told_apart_by_their_order() -> None:
    network, context, x = make(), make_context(), torch.randn(2, CHANNELS, FRAMES)
    turned = network(x.roll(3, dims=2), LEVEL, None, context).roll(-3, dims=2)
    assert not torch.allclose(network(x, LEVEL, None, context), turned, atol=1e-3)


def test_given_frames_are_told_and_others_are_not() -> None:
    network, context, x = make(2, infill=True), make_context(), torch.randn(2, CHANNELS, FRAMES)
    where = torch.arange(FRAMES).expand(2, -1) < 4

    def run(latents: Tensor, places: Tensor) -> Tensor:
        return network(x, LEVEL, None, context, given=(latents, places))

    latents = torch.randn(2, CHANNELS, FRAMES)
    elsewhere = torch.where(where[:, None], latents, 7.0)
    assert torch.equal(run(latents, where), run(elsewhere, where))
    assert not torch.allclose(run(latents, where), run(-latents, where), atol=1e-3)
    assert not torch.allclose(run(0 * latents, where), run(0 * latents, ~where), atol=1e-3)


def test_levels_that_are_near_look_alike_and_those_apart_do_not() -> None:
    near, far = level_features(torch.tensor([0.5, 0.501]), 128), level_features(LEVEL, 128)
    assert near.shape == (2, 128)
    assert torch.cosine_similarity(near[0], near[1], dim=0) > 0.99
    assert torch.cosine_similarity(far[0], far[1], dim=0) < 0.7
    zero = level_features(torch.zeros(1), 8)[0]
    assert zero.tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
