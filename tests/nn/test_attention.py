"""Rotary positions and attention, against what is computed by hand."""

import math

import pytest
import torch
from torch import Tensor

from audiogen.nn.attention import (
    MATMUL_ATTENTION,
    CrossAttention,
    LayerCache,
    SelfAttention,
    attend,
    causal_mask,
    rotary_table,
    rotate,
)
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


def test_a_pair_of_channels_turns_by_its_own_angle() -> None:
    x = torch.tensor([1.0, 0.0, 0.0, 1.0]).view(1, 1, 1, 4)
    turned = rotate(x, rotary_table(torch.tensor([2.0]), 4, base=100.0))
    fast, slow = 2.0, 2.0 * 100**-0.5
    expected = [math.cos(fast), math.sin(fast), -math.sin(slow), math.cos(slow)]
    torch.testing.assert_close(turned.flatten(), torch.tensor(expected))


def test_a_causal_mask_hides_what_comes_later_and_nothing_else() -> None:
    whole = [[True, False, False], [True, True, False], [True, True, True]]
    assert causal_mask(torch.arange(3), 3).tolist() == whole
    # Two steps at places 1 and 2 of a cache for four.
    later = [[True, True, False, False], [True, True, True, False]]
    assert causal_mask(torch.tensor([1, 2]), 4).tolist() == later


def of_heads(rows: list[list[float]]) -> Tensor:
    """One item and one head."""
    return torch.tensor(rows)[None, None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])  # fused, and written out
def test_attention_is_the_mean_of_values_weighted_by_the_softmax(dtype: torch.dtype) -> None:
    # Scores over the root of 4 channels are log 3 and 0: weights 3/4 and 1/4.
    query = of_heads([[2 * math.log(3), 0, 0, 0]])
    key = of_heads([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    value = of_heads([[4.0, 0, 0, 8.0], [0, 4.0, 0, 8.0]]).to(dtype)
    found = attend(query, key, value, None)
    assert found.dtype == dtype
    expected = torch.tensor([[[3.0, 1.0, 0.0, 8.0]]])
    torch.testing.assert_close(found.float(), expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_hidden_key_has_no_weight_and_the_others_share_it(dtype: torch.dtype) -> None:
    query, key = torch.zeros(1, 1, 2, 2), torch.randn(1, 1, 3, 2)  # all scores are 0
    value = of_heads([[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]]).to(dtype)
    allowed = torch.tensor([[True, False, True], [False, True, False]])
    found = attend(query, key, value, allowed).float()
    torch.testing.assert_close(found, torch.tensor([[[3.5, 35.0], [2.0, 20.0]]]))
    value[:, :, 1] = 1e4
    assert attend(query, key, value, allowed).float()[0, 0].tolist() == [3.5, 35.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("frames", [9, math.isqrt(MATMUL_ATTENTION) + 1])  # written out or not
def test_causal_is_the_causal_mask(dtype: torch.dtype, frames: int) -> None:
    query, key, value = torch.randn(3, 1, 2, frames, 4)
    allowed = causal_mask(torch.arange(frames), frames)
    value = value.to(dtype)
    found = attend(query, key, value, None, causal=True)
    torch.testing.assert_close(found, attend(query, key, value, allowed))
    assert torch.equal(found[:, 0], value[:, :, 0].flatten(1).to(found.dtype))


def test_heads_are_joined_in_their_order() -> None:
    value = torch.arange(6.0).view(1, 3, 1, 2)
    found = attend(torch.randn(1, 3, 5, 2), torch.randn(1, 3, 1, 2), value, None)
    torch.testing.assert_close(found, torch.arange(6.0).expand(1, 5, 6))


@pytest.mark.parametrize("masked", [False, True])
def test_attention_written_out_in_bf16_is_that_of_fp32(masked: bool) -> None:
    attention = SelfAttention(32, 4)
    x, table = torch.randn(2, 20, 32), rotary_table(torch.arange(20), 8)
    mask = torch.arange(20)[None] < torch.tensor([[20], [13]])
    allowed = mask[:, None, None] if masked else None
    exact = attention(x, table, allowed)
    with torch.autocast("cpu", torch.bfloat16):
        rough = attention(x, table, allowed)
        if masked:
            spoiled = attention(torch.where(mask[..., None], x, 5.0), table, allowed)
            torch.testing.assert_close(rough[1, :13], spoiled[1, :13])
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=0.03, rtol=0.03)


def test_a_layer_that_remembers_attends_as_over_all_frames() -> None:
    attention, x = SelfAttention(16, 2), torch.randn(3, 5, 16)
    table, whole = rotary_table(torch.arange(5), 8), torch.arange(5)
    kept = torch.zeros(2, 3, 2, 7, 8)
    found = []
    for places in whole.split([2, 1, 2]):
        cache = LayerCache(keys=kept[0], values=kept[1], context=(kept[0], kept[1]), places=places)
        allowed = causal_mask(places, 7)
        with torch.no_grad():
            found.append(attention(x[:, places], table[places], allowed, cache=cache))
    expected = attention(x, table, None, causal=True)
    torch.testing.assert_close(torch.cat(found, dim=1), expected, atol=1e-6, rtol=1e-5)


def test_frames_see_the_context_where_its_mask_allows_it() -> None:
    attention, x = CrossAttention(16, 2), torch.randn(2, 3, 16)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    context = Context(sequence=torch.randn(2, 3, 16), mask=mask, vector=torch.zeros(2, 16))
    found = attention(x, context)
    # Where one place is seen only, all frames get its value.
    _, value = attention.keys_and_values(context.sequence)
    only = attention.project(value[1, :, 0].flatten())
    torch.testing.assert_close(found[1], only.expand(3, -1))
    spoiled = context.sequence.masked_fill(~mask[..., None], 9.0)
    other = attention(x, Context(sequence=spoiled, mask=mask, vector=context.vector))
    torch.testing.assert_close(found, other)
