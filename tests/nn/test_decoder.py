"""Causal networks: what the cache gives is what the whole gives; no step sees a later one."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from audiogen.nn.decoder import Backbone, CausalTransformer
from audiogen.nn.lowbit import WeightKind, with_weights
from audiogen.nn.lstm import CausalLSTM
from audiogen.nn.step_graph import StepGraph
from audiogen.types import Context

DIM, STEPS, TOKENS = 32, 13, 5
BACKBONES = ["transformer", "lstm"]


def make(name: str) -> Backbone:
    network = CausalTransformer(DIM, 3, 4) if name == "transformer" else CausalLSTM(DIM, 2)
    for parameter in network.parameters():  # scales and biases as after training
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


def make_context(lengths: tuple[int, ...]) -> Context:
    mask = torch.arange(TOKENS)[None] < torch.tensor(lengths)[:, None]
    batch = len(lengths)
    return Context(
        sequence=torch.randn(batch, TOKENS, DIM), mask=mask, vector=torch.randn(batch, DIM)
    )


def decode(network: Backbone, x: Tensor, context: Context, counts: tuple[int, ...]) -> Tensor:
    cache = network.cache(context, x.shape[1])
    return torch.cat(
        [network.step(part, cache) for part in torch.split(x, list(counts), dim=1)], dim=1
    )


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("counts", [(1,) * STEPS, (6,) + (1,) * 7, (STEPS,), (3, 4, 1, 5)])
@pytest.mark.parametrize("lengths", [(TOKENS, TOKENS), (5, 1, 3), (2,)])
def test_decoding_with_a_cache_is_the_whole_at_once(
    name: str, counts: tuple[int, ...], lengths: tuple[int, ...]
) -> None:
    network, context = make(name), make_context(lengths)
    x = torch.randn(len(lengths), STEPS, DIM)
    with torch.inference_mode():
        whole, stepwise = network(x, context), decode(network, x, context, counts)
    torch.testing.assert_close(stepwise, whole, atol=1e-4, rtol=0)


class Recorded(StepGraph):
    """Records the operations of the first step and plays them back, as a CUDA graph does."""

    def __init__(self) -> None:
        self.operations: Callable[[Tensor, Tensor], Tensor] | None = None

    def __call__(self, run: Callable[[Tensor, Tensor], Tensor], x: Tensor, now: int) -> Tensor:
        place = torch.tensor([now])
        if self.operations is None:
            self.operations = make_fx(run)(x, place)
        return self.operations(x, place)


@pytest.mark.parametrize("kind", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("counts", [(1,) * STEPS, (6,) + (1,) * 7])
@pytest.mark.parametrize("lengths", [(TOKENS, TOKENS), (5, 1, 3)])
def test_operations_recorded_in_one_step_are_right_for_all(
    counts: tuple[int, ...], lengths: tuple[int, ...], kind: WeightKind
) -> None:
    network, context = make("transformer"), make_context(lengths)
    if kind != "fp32":
        network = with_weights(network, kind)
    x = torch.randn(len(lengths), STEPS, DIM)
    with torch.no_grad():
        expected = decode(network, x, context, counts)
        cache = network.cache(context, STEPS)
        cache.graph = Recorded()
        found = [network.step(part, cache) for part in torch.split(x, list(counts), dim=1)]
    torch.testing.assert_close(torch.cat(found, dim=1), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "why"), [("transformer", "needs a GPU"), ("lstm", "transformer")])
def test_a_graph_is_refused_where_there_is_none(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        make(name).cache(make_context((5,)), 4, graph=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs a GPU")
def test_a_cuda_graph_gives_what_single_operations_give() -> None:
    with torch.no_grad(), torch.device("cuda"):
        network, context = make("transformer"), make_context((5, 1, 3))
        x = torch.randn(3, STEPS, DIM)
        cache = network.cache(context, STEPS, graph=True)
        found = [network.step(part, cache) for part in x.split([6] + [1] * 7, dim=1)]
        whole = network(x, context)
    torch.testing.assert_close(torch.cat(found, dim=1), whole, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", BACKBONES)
def test_an_item_does_not_depend_on_its_batch_nor_on_what_its_context_pads(name: str) -> None:
    network, context = make(name), make_context((5, 2))
    x = torch.randn(2, STEPS, DIM)
    together = network(x, context)
    alone = Context(
        sequence=context.sequence[1:, :2], mask=context.mask[1:, :2], vector=context.vector[1:]
    )
    torch.testing.assert_close(together[1:], network(x[1:], alone), atol=1e-5, rtol=1e-5)
    stepwise = decode(network, x[1:], alone, (1,) * STEPS)
    torch.testing.assert_close(together[1:], stepwise, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_later_step_changes_no_earlier_one(name: str) -> None:
    network, context = make(name), make_context((5, 2))
    x = torch.randn(2, STEPS, DIM)
    changed = x.clone()
    changed[:, 7:] = torch.randn(2, STEPS - 7, DIM)
    before, after = network(x, context), network(changed, context)
    torch.testing.assert_close(before[:, :7], after[:, :7], atol=1e-6, rtol=0)
    assert bool((before != after)[:, 7:].any(dim=2).all())


@pytest.mark.parametrize("name", BACKBONES)
def test_every_parameter_is_learnt_and_the_context_is_heard(name: str) -> None:
    network, context = make(name), make_context((5, 2))
    x = torch.randn(2, STEPS, DIM, requires_grad=True)
    out = network(x, context)
    out.square().sum().backward()
    for label, parameter in network.named_parameters():
        assert parameter.grad is not None, label
        assert bool(parameter.grad.any()), label
    assert x.grad is not None
    for other in (
        Context(sequence=context.sequence.roll(1, 0), mask=context.mask, vector=context.vector),
        Context(sequence=context.sequence, mask=context.mask, vector=-context.vector),
    ):
        assert not torch.allclose(network(x, other), out, atol=1e-3)


def test_order_of_steps_is_heard() -> None:
    network, context = make("transformer"), make_context((5,))
    x = torch.randn(1, STEPS, DIM)
    swapped = x[:, [1, 0, *range(2, STEPS)]]
    assert not torch.allclose(
        network(x, context)[:, -1], network(swapped, context)[:, -1], atol=1e-4
    )


def test_without_causality_all_is_seen_but_padding() -> None:
    network, context = make("transformer"), make_context((5, 2))
    x = torch.randn(2, STEPS, DIM)
    mask = torch.arange(STEPS)[None] < torch.tensor([[STEPS], [8]])
    out = network(x, context, mask=mask, causal=False)
    spoiled = network(torch.where(mask[..., None], x, 9.0), context, mask=mask, causal=False)
    torch.testing.assert_close(out[mask], spoiled[mask])
    later = x.clone()
    later[:, 7] += 1
    changed = network(later, context, mask=mask, causal=False)
    assert not torch.allclose(changed[:, 0], out[:, 0], atol=1e-4)


def test_a_mask_may_also_be_given_when_causal() -> None:
    network, context = make("transformer"), make_context((5, 2))
    x = torch.randn(2, STEPS, DIM)
    mask = torch.arange(STEPS)[None] < torch.tensor([[STEPS], [8]])
    masked = network(x, context, mask=mask)
    torch.testing.assert_close(masked[mask], network(x, context)[mask], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_full_cache_is_refused(name: str) -> None:
    network = make(name)
    cache = network.cache(make_context((5,)), 4)
    network.step(torch.randn(1, 3, DIM), cache)
    with pytest.raises(ValueError, match="3 steps and 2 more do not fit into a cache of 4"):
        network.step(torch.randn(1, 2, DIM), cache)
    network.step(torch.randn(1, 1, DIM), cache)


def test_lstm_refuses_to_look_ahead() -> None:
    with pytest.raises(ValueError, match="causal=False"):
        make("lstm")(torch.randn(1, 3, DIM), make_context((5,)), causal=False)


@pytest.mark.parametrize("causal", [True, False])
def test_bf16_training_is_near_fp32(causal: bool) -> None:
    network, context = make("transformer"), make_context((5, 2))
    x = torch.randn(2, STEPS, DIM)
    exact = network(x, context, causal=causal)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(x, context, causal=causal)
    torch.testing.assert_close(rough.float(), exact, atol=0.1, rtol=0.05)
