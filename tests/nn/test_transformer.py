"""Rotary positions and the Transformer's shapes."""

import pytest
import torch

from audiogen.nn.dit import DiT
from audiogen.nn.transformer import SelfAttention, rotary_table, rotate
from audiogen.types import Context


def test_rotation_keeps_lengths_and_depends_on_distance_alone() -> None:
    query, key = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def product(first: float, second: float) -> float:
        a = rotate(query, rotary_table(torch.tensor([first]), 8))
        b = rotate(key, rotary_table(torch.tensor([second]), 8))
        return float((a * b).sum())

    assert product(3, 5) == pytest.approx(product(10, 12), abs=1e-4)
    assert product(3, 5) != pytest.approx(product(3, 9), abs=1e-2)
    turned = rotate(query, rotary_table(torch.tensor([7.0]), 8))
    assert float(turned.norm()) == pytest.approx(float(query.norm()), rel=1e-5)


@pytest.mark.parametrize("patch_frames", [1, 2, 3])
def test_patches_do_not_mix_masked_frames_in(patch_frames: int) -> None:
    network = DiT(channels=4, dim=16, depth=1, num_heads=2, patch_frames=patch_frames)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    context = Context(
        sequence=torch.randn(2, 3, 16), mask=torch.ones(2, 3, dtype=torch.bool),
        vector=torch.randn(2, 16),
    )  # fmt: skip
    mask = torch.arange(11)[None] < torch.tensor([[11], [7]])
    x = torch.randn(2, 4, 11)
    level = torch.tensor([0.1, -0.3])
    out = network(x, level, mask, context)
    assert out.shape == x.shape
    spoiled = network(torch.where(mask[:, None], x, 9.0), level, mask, context)
    torch.testing.assert_close(out[1, :, :7], spoiled[1, :, :7])
    alone = network(x[1:, :, :7], level[1:], None, Context(
        sequence=context.sequence[1:], mask=context.mask[1:], vector=context.vector[1:]
    ))  # fmt: skip
    torch.testing.assert_close(out[1:, :, :7], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_written_out_in_bf16_is_that_of_fp32(masked: bool) -> None:
    attention = SelfAttention(32, 4)
    x, table = torch.randn(2, 20, 32), rotary_table(torch.arange(20), 8)
    mask = torch.arange(20)[None] < torch.tensor([[20], [13]]) if masked else None
    exact = attention(x, table, mask)
    with torch.autocast("cpu", torch.bfloat16):
        rough = attention(x, table, mask)
        if mask is not None:
            spoiled = attention(torch.where(mask[..., None], x, 5.0), table, mask)
            torch.testing.assert_close(rough[1, :13], spoiled[1, :13])
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=0.03, rtol=0.03)
