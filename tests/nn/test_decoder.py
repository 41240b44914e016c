"""Networks over steps: what a cache gives is what the whole gives; no step sees a later one."""

import pytest
import torch
from torch import Tensor, nn

from audiogen.nn.decoder import Backbone, Decoder
from audiogen.nn.lstm import CausalLSTM
from audiogen.nn.transformer import Transformer
from audiogen.types import Context

DIM, STEPS, TOKENS = 32, 13, 5
BACKBONES = ["transformer", "lstm"]


def make(name: str, *, causal: bool = True) -> Backbone:
    lstm = name == "lstm"
    network = CausalLSTM(DIM, 2) if lstm else Transformer(DIM, 3, 4, causal=causal)
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
    parts = torch.split(x, list(counts), dim=1)
    with torch.no_grad():
        return torch.cat([network(part, context, cache=cache) for part in parts], dim=1)


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


def _skip_without_lstm_in_bf16() -> None:
    """Skip on processors with AVX2 alone, for which oneDNN has no such LSTM."""
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            nn.LSTM(DIM, DIM)(torch.zeros(1, 1, DIM))
    except RuntimeError as error:
        pytest.skip(f"no LSTM in bf16 here: {error}")


@pytest.mark.parametrize("name", BACKBONES)
def test_a_cache_in_bf16_gives_about_the_whole_in_bf16(name: str) -> None:
    if name == "lstm":
        _skip_without_lstm_in_bf16()
    network, context = make(name), make_context((5, 2))
    x = torch.randn(2, STEPS, DIM)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        whole, stepwise = network(x, context), decode(network, x, context, (6,) + (1,) * 7)
    torch.testing.assert_close(stepwise, whole, atol=0.1, rtol=0.05)


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
    network, context = make("transformer", causal=False), make_context((5, 2))
    x = torch.randn(2, STEPS, DIM)
    mask = torch.arange(STEPS)[None] < torch.tensor([[STEPS], [8]])
    out = network(x, context, mask=mask)
    spoiled = network(torch.where(mask[..., None], x, 9.0), context, mask=mask)
    torch.testing.assert_close(out[mask], spoiled[mask])
    later = x.clone()
    later[:, 7] += 1
    changed = network(later, context, mask=mask)
    assert not torch.allclose(changed[:, 0], out[:, 0], atol=1e-4)


def test_without_causality_there_is_no_cache() -> None:
    with pytest.raises(ValueError, match="only a causal network"):
        make("transformer", causal=False).cache(make_context((5,)), 4)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_decoder_steps_as_it_runs_over_all(name: str) -> None:
    decoder, context = Decoder(make(name), nn.Linear(DIM, 7)), make_context((5, 2))
    x = torch.randn(2, STEPS, DIM)
    step = decoder.begin(context, STEPS)
    found = torch.stack([step(part) for part in x.split([4, 1, 1, 7], dim=1)], dim=1)
    assert not found.requires_grad
    expected = decoder(x, context)[:, [3, 4, 5, STEPS - 1]]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="1 steps, and room for 0 is left"):
        step(x[:, :1])


@pytest.mark.parametrize("causal", [True, False])
def test_bf16_training_is_near_fp32(causal: bool) -> None:
    network, context = make("transformer", causal=causal), make_context((5, 2))
    x = torch.randn(2, STEPS, DIM)
    exact = network(x, context)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(x, context)
    torch.testing.assert_close(rough.float(), exact, atol=0.1, rtol=0.05)
