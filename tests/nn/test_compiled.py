"""Compiled steps compute what the network computes, bit by bit the same in any batch."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from numba import njit
from torch import Tensor, nn

from audiogen.nn import kernels
from audiogen.nn.compiled import CompiledLinear, CompiledTransformer
from audiogen.nn.decoder import Backbone, CausalTransformer
from audiogen.nn.lowbit import WeightKind, quantised
from audiogen.types import Context

KINDS: tuple[WeightKind, ...] = ("fp32", "bf16", "int8")
TOKENS, STEPS = 5, 9


def as_kept(weight: Tensor, kind: WeightKind) -> Tensor:
    """What weights are once they are in fewer bits."""
    if kind == "bf16":
        return weight.bfloat16().float()
    if kind == "int8":
        whole, scale = quantised(weight)
        return whole.float() * scale[:, None]
    return weight


def make(dim: int, num_heads: int, depth: int = 2) -> CausalTransformer:
    network = CausalTransformer(dim, depth, num_heads)
    for parameter in network.parameters():  # scales and biases as after training
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network.eval()


def make_context(dim: int, lengths: tuple[int, ...]) -> Context:
    batch = len(lengths)
    return Context(
        sequence=torch.randn(batch, TOKENS, dim),
        mask=torch.arange(TOKENS)[None] < torch.tensor(lengths)[:, None],
        vector=torch.randn(batch, dim),
    )


def decode(network: Backbone, x: Tensor, context: Context, given: int) -> Tensor:
    cache = network.cache(context, x.shape[1])
    counts = [given] * (given > 0) + [1] * (x.shape[1] - given)
    return torch.cat([network.step(part, cache) for part in torch.split(x, counts, dim=1)], dim=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(8, 16), (64, 48), (37, 101), (3, 1)])
@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_multiplies_by_the_weights_it_keeps(
    kind: WeightKind, shape: tuple[int, int], bias: bool
) -> None:
    layer = nn.Linear(*shape, bias=bias)
    copy = CompiledLinear(layer, kind)
    weight = as_kept(layer.weight.detach(), kind).double()
    with torch.inference_mode():
        for sizes in [(), (1,), (2, 1), (3, 5), (0,)]:
            x = torch.randn(*sizes, shape[0])
            expected = x.double() @ weight.T + (layer.bias if bias else 0)
            torch.testing.assert_close(copy(x), expected.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dim", "num_heads"), [(32, 4), (36, 3), (64, 1)])
@pytest.mark.parametrize("lengths", [(TOKENS,), (5, 1, 3), (2, 5, 5, 1, 4, 3, 5)])
@pytest.mark.parametrize("given", [0, 4])
def test_steps_are_those_of_a_network_with_the_weights_it_keeps(
    kind: WeightKind, dim: int, num_heads: int, lengths: tuple[int, ...], given: int
) -> None:
    network, context = make(dim, num_heads), make_context(dim, lengths)
    copy = CompiledTransformer(network, kind)
    x = torch.randn(len(lengths), STEPS, dim)
    with torch.inference_mode():
        stepwise = decode(copy, x, context, given)
        for name, layer in network.named_modules():
            # What the context gives and steps given at once are computed by the copy's network.
            if isinstance(layer, nn.Linear) and not name.endswith("key_value"):
                layer.weight.copy_(as_kept(layer.weight, kind))
        whole = network(x, context)
    tolerance = 1e-4 if kind == "fp32" else 0.05  # there, that network multiplies in bf16
    torch.testing.assert_close(stepwise, whole, atol=tolerance, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_the_same_in_any_batch_and_with_any_number_of_threads(kind: WeightKind) -> None:
    network, lengths = make(48, 4), (5, 1, 3, 2, 5, 4, 1)
    context, x = make_context(48, lengths), torch.randn(len(lengths), STEPS, 48)
    threads = torch.get_num_threads()
    with torch.inference_mode():
        whole = decode(CompiledTransformer(network, kind), x, context, 0)
        for other in (1, 3, threads):
            try:
                torch.set_num_threads(other)
                copy = CompiledTransformer(network, kind)
            finally:
                torch.set_num_threads(threads)
            for rows in ([0], [6], [1, 2], [3, 4, 5], [0, 2, 4, 6, 1]):
                part = Context(
                    sequence=context.sequence[rows],
                    mask=context.mask[rows],
                    vector=context.vector[rows],
                )
                # Context keys and values come from torch, whose sums depend on the batch.
                cache, own = copy.cache(context, STEPS), copy.cache(part, STEPS)
                for name in ("context_keys", "context_values"):
                    kept = getattr(cache.memory, name)
                    heads = kept.reshape(len(kept), len(lengths), -1, *kept.shape[2:])[:, rows]
                    getattr(own.memory, name)[:] = heads.reshape(getattr(own.memory, name).shape)
                for step in range(STEPS):
                    out = copy.step(x[rows, step : step + 1], own)
                    assert torch.equal(out[:, 0], whole[rows, step])


def test_what_a_thread_reads_lies_in_the_order_in_which_it_is_read() -> None:
    copy = CompiledTransformer(make(36, 3), "bf16")
    parts = copy._panels.qkv.shape[1]
    for part in range(parts):
        inside = [panels[layer, part] for layer in range(2) for panels in copy._panels]
        ends = [panel.ctypes.data + panel.nbytes for panel in inside]
        assert [panel.ctypes.data for panel in inside[1:]] == ends[:-1]
        assert all(panel.flags.c_contiguous for panel in inside)
        assert not any(panel.ctypes.data % kernels.LINE for panel in inside)


def test_what_the_context_hides_is_not_seen() -> None:
    network, context = make(32, 4), make_context(32, (2, 3))
    other = context.sequence.clone()
    other[0, 2:], other[1, 3:] = 7, -7
    changed = Context(sequence=other, mask=context.mask, vector=context.vector)
    copy, x = CompiledTransformer(network, "fp32"), torch.randn(2, STEPS, 32)
    with torch.inference_mode():
        assert torch.equal(decode(copy, x, context, 0), decode(copy, x, changed, 0))


def test_the_network_at_once_and_refusals_are_those_of_the_network() -> None:
    network, context = make(32, 4), make_context(32, (5, 2))
    copy, x = CompiledTransformer(network, "fp32"), torch.randn(2, STEPS, 32)
    with torch.inference_mode():
        assert torch.equal(copy(x, context), network(x, context))
        cache = copy.cache(context, 1)
        copy.step(x[:, :1], cache)
        with pytest.raises(ValueError, match="1 steps and 1 more do not fit into a cache of 1"):
            copy.step(x[:, :1], cache)
        with pytest.raises(ValueError, match="a CUDA graph needs a GPU"):
            copy.cache(context, 1, graph=True)


def test_exponentials_are_those_of_float32() -> None:
    @njit
    def fill(x: Any, out: Any) -> None:
        for index in range(len(x)):
            out[index] = kernels._exp(x[index])

    x = np.concatenate([np.linspace(-87, 87, 100_001), [0, -88, -1e30, -np.inf, 1e30]])
    x = x.astype(np.float32)
    out = np.empty_like(x)
    fill(x, out)
    exact = np.exp(x[:-4].astype(np.float64))
    np.testing.assert_allclose(out[:-4], exact, rtol=2e-7)
    assert out[-4:-1].tolist() == [0, 0, 0]
    assert 1e38 < out[-1] < np.inf


def test_the_compiled_function_is_kept_on_disk() -> None:
    """Another process does not compile again: it loads what tests before it compiled."""
    copy = CompiledLinear(nn.Linear(8, 8), "fp32")
    with torch.inference_mode():
        copy(torch.randn(1, 8))
    code = (
        "import torch; from torch import nn; from audiogen.nn import kernels;"
        "from audiogen.nn.compiled import CompiledLinear;"
        "torch.set_grad_enabled(False); CompiledLinear(nn.Linear(8, 8), 'fp32')(torch.randn(1, 8));"
        "print(sum(kernels.multiply.stats.cache_hits.values()))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert found.stdout.split() == ["1"]


def test_torch_keeps_its_number_of_threads() -> None:
    """In its own process: when numba starts its threads, it sets the number of torch's too."""
    code = (
        "import torch; from torch import nn; from audiogen.nn.compiled import CompiledLinear;"
        "torch.set_grad_enabled(False); torch.set_num_threads(1);"
        "CompiledLinear(nn.Linear(8, 8), 'fp32')(torch.randn(1, 8));"
        "print(torch.get_num_threads())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NUMBA_NUM_THREADS": "2"},
    )
    assert found.stdout.split() == ["1"]
