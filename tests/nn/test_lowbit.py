"""Copies with other weights compute what the original computes, as far as their bits go."""

from typing import Literal

import pytest
import torch
from torch import nn

from audiogen.nn.lowbit import LowbitLinear, with_weights
from audiogen.nn.lstm import CausalLSTM
from audiogen.nn.transformer import Transformer
from audiogen.types import Context

Kind = Literal["bf16", "int8"]
KINDS: tuple[Kind, ...] = ("bf16", "int8")
TOLERANCE = {"bf16": 0.03, "int8": 0.05}  # for outputs of about unit variance
SHAPES = [(64,), (1, 64), (1, 1, 64), (2, 64), (3, 5, 64), (40, 64)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_gives_about_what_it_gave(kind: Kind, bias: bool) -> None:
    layer = nn.Linear(64, 48, bias=bias)
    nn.init.normal_(layer.weight, std=64**-0.5)
    copy = with_weights(layer, kind)
    with torch.inference_mode():
        for shape in SHAPES:
            x = torch.randn(shape)
            out = copy(x)
            assert out.dtype == torch.float32
            torch.testing.assert_close(out, layer(x), atol=TOLERANCE[kind], rtol=0)
            # Else the weights were not in fewer bits at all.
            assert float((out - layer(x)).abs().max()) > 1e-4


def test_int8_rounds_each_output_channel_on_its_own() -> None:
    layer = nn.Linear(64, 4, bias=False)
    layer.weight.data *= torch.tensor([[1e-6], [1.0], [1e3], [0.0]])
    copy = with_weights(layer, "int8")
    assert isinstance(copy, LowbitLinear)
    assert copy.scale is not None
    stored = copy.weight.float() * copy.scale[:, None]
    step = layer.weight.detach().abs().amax(dim=1, keepdim=True) / 127
    assert bool(((stored - layer.weight).abs() <= step * 0.501).all())
    assert copy.weight[:3].abs().amax(dim=1).tolist() == [127, 127, 127]
    out = copy(torch.randn(2, 64))
    assert bool(out.isfinite().all())
    assert not bool(out[:, 3].any())


def test_int8_of_an_item_does_not_depend_on_its_batch() -> None:
    copy = with_weights(nn.Linear(64, 48), "int8")
    x = torch.randn(3, 64)
    louder = torch.cat([x[:1], 1000 * x[1:]])
    torch.testing.assert_close(copy(x)[0], copy(louder)[0], atol=0, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_network_decodes_as_the_original(kind: Kind, batch: int) -> None:
    network = Transformer(64, 3, 4, causal=True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    copy = with_weights(network, kind)
    context = Context(
        sequence=torch.randn(batch, 5, 64),
        mask=torch.arange(5)[None] < torch.arange(1, batch + 1)[:, None],
        vector=torch.randn(batch, 64),
    )
    x = torch.randn(batch, 9, 64)
    with torch.inference_mode():
        exact = network(x, context)
        cache = copy.cache(context, 9)
        parts = [copy(part, context, cache=cache) for part in x.split([4, 1, 1, 1, 1, 1], dim=1)]
        torch.testing.assert_close(torch.cat(parts, dim=1), exact, atol=2 * TOLERANCE[kind], rtol=0)
    assert not copy.training
    assert not any(parameter.requires_grad for parameter in copy.parameters())
    assert all(bool((network.state_dict()[name] == value).all()) for name, value in before.items())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_what_is_not_linear_stays() -> None:
    network = CausalLSTM(16, 2)
    copy = with_weights(network, "int8")
    context = Context(
        sequence=torch.randn(1, 2, 16),
        mask=torch.ones(1, 2, dtype=torch.bool),
        vector=torch.randn(1, 16),
    )
    x = torch.randn(1, 4, 16)
    torch.testing.assert_close(copy(x, context), network(x, context))


def test_fp32_is_no_copy() -> None:
    layer = nn.Linear(2, 2)
    assert with_weights(layer, "fp32") is layer
