"""Compiled steps compute what the decoder computes, bit by bit the same in any batch."""

import ast
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numba import njit
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

import audiogen
from audiogen.locking import in_turn
from audiogen.nn.compiled import compiled, cpu, kernels
from audiogen.nn.compiled.graph import Graphed
from audiogen.nn.decoder import Begin, Decoder
from audiogen.nn.lowbit import WeightKind, quantised, with_weights
from audiogen.nn.lstm import CausalLSTM
from audiogen.nn.transformer import Transformer
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


def make(dim: int, num_heads: int, classes: int = 21, *, bias: bool = True) -> Decoder:
    backbone = Transformer(dim, 2, num_heads, causal=True)
    decoder = Decoder(backbone, nn.Linear(dim, classes, bias=bias))
    for parameter in decoder.parameters():  # scales and biases as after training
        parameter.data += 0.1 * torch.randn_like(parameter)
    return decoder.eval()


def make_context(dim: int, lengths: tuple[int, ...]) -> Context:
    batch = len(lengths)
    return Context(
        sequence=torch.randn(batch, TOKENS, dim),
        mask=torch.arange(TOKENS)[None] < torch.tensor(lengths)[:, None],
        vector=torch.randn(batch, dim),
    )


def decode(begin: Begin, x: Tensor, context: Context, given: int = 0) -> Tensor:
    """Logits (B, S - given + 1, classes) of the last given step and those behind it."""
    step = begin(context, x.shape[1])
    counts = [given] * (given > 0) + [1] * (x.shape[1] - given)
    return torch.stack([step(part) for part in torch.split(x, counts, dim=1)], dim=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("dim", "num_heads", "classes"), [(32, 4, 48), (36, 3, 101), (64, 1, 1), (20, 2, 33)]
)
@pytest.mark.parametrize("lengths", [(TOKENS,), (5, 1, 3), (2, 5, 5, 1, 4, 3, 5)])
@pytest.mark.parametrize("given", [0, 4])
def test_steps_are_those_of_a_decoder_with_the_weights_it_keeps(
    kind: WeightKind,
    dim: int,
    num_heads: int,
    classes: int,
    lengths: tuple[int, ...],
    given: int,
) -> None:
    decoder, context = make(dim, num_heads, classes, bias=given > 0), make_context(dim, lengths)
    begin = compiled(decoder, kind)
    x = torch.randn(len(lengths), STEPS, dim)
    with torch.inference_mode():
        stepwise = decode(begin, x, context, given)
        for name, layer in decoder.named_modules():
            # What the context gives and steps given at once are computed by torch.
            if isinstance(layer, nn.Linear) and not name.endswith("key_value"):
                layer.weight.copy_(as_kept(layer.weight, kind))
        whole = decoder(x, context)[:, max(0, given - 1) :]
    tolerance = 1e-4 if kind == "fp32" else 0.1  # there, torch multiplies in bf16
    torch.testing.assert_close(stepwise, whole, atol=tolerance, rtol=0.01)


def test_a_step_of_very_small_numbers_is_that_of_the_network() -> None:
    """The norms divide by what is near their eps there."""
    decoder, context = make(32, 4), make_context(32, (5, 3))
    context = Context(sequence=context.sequence, mask=context.mask, vector=0 * context.vector)
    x = 1e-4 * torch.randn(2, STEPS, 32)
    with torch.inference_mode():
        stepwise = decode(compiled(decoder, "fp32"), x, context)
        torch.testing.assert_close(stepwise, decoder(x, context), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_the_same_in_any_batch_and_with_any_number_of_threads(kind: WeightKind) -> None:
    decoder, lengths = make(48, 4), (5, 1, 3, 2, 5, 4, 1)
    context, x = make_context(48, lengths), torch.randn(len(lengths), STEPS, 48)
    # Keys and values of the context come from torch, whose sums may depend on the batch: with
    # weights of few bits they do not.
    for block in decoder.backbone.blocks:
        weight = block.cross_attention.key_value.weight
        weight.data = (8 * weight.data).round().clamp(-2, 2)
        block.cross_attention.key_norm = nn.Identity()
    context = Context(
        sequence=(4 * context.sequence).round() / 4, mask=context.mask, vector=context.vector
    )
    threads = torch.get_num_threads()
    with torch.inference_mode():
        whole = decode(compiled(decoder, kind), x, context)
        for other in (1, 3, threads):
            try:
                torch.set_num_threads(other)
                begin = compiled(decoder, kind)
            finally:
                torch.set_num_threads(threads)
            for rows in ([0], [6], [1, 2], [3, 4, 5], [0, 2, 4, 6, 1]):
                part = Context(
                    sequence=context.sequence[rows],
                    mask=context.mask[rows],
                    vector=context.vector[rows],
                )
                assert torch.equal(decode(begin, x[rows], part), whole[rows])


def test_what_the_context_hides_is_not_seen() -> None:
    decoder, context = make(32, 4), make_context(32, (2, 3))
    other = context.sequence.clone()
    other[0, 2:], other[1, 3:] = 7, -7
    changed = Context(sequence=other, mask=context.mask, vector=context.vector)
    begin, x = compiled(decoder, "fp32"), torch.randn(2, STEPS, 32)
    with torch.inference_mode():
        assert torch.equal(decode(begin, x, context), decode(begin, x, changed))


def test_bf16_around_it_changes_nothing() -> None:
    decoder, context = make(32, 4), make_context(32, (2, 3))
    begin, x = compiled(decoder, "fp32"), torch.randn(2, STEPS, 32)
    with torch.inference_mode():
        plain = decode(begin, x, context, 4)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(decode(begin, x, context, 4), plain)


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_steps_that_do_not_fit_are_refused_as_without(name: str) -> None:
    decoder = make(32, 4)
    if name == "lstm":
        decoder = Decoder(CausalLSTM(32, 1), decoder.heads)
    for begin in (decoder.begin, compiled(decoder, "fp32")):
        step = begin(make_context(32, (5,)), 3)
        step(torch.randn(1, 2, 32))
        with pytest.raises(ValueError, match="2 steps, and room for 1 is left"):
            step(torch.randn(1, 2, 32))
        step(torch.randn(1, 1, 32))


def test_a_network_that_has_no_compiled_step_takes_its_own() -> None:
    decoder = Decoder(CausalLSTM(16, 2), nn.Linear(16, 7)).eval()
    context, x = make_context(16, (5, 2)), torch.randn(2, STEPS, 16)
    with torch.inference_mode():
        found = decode(compiled(decoder, "int8"), x, context)
        assert torch.equal(found, decode(with_weights(decoder, "int8").begin, x, context))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [(TOKENS, TOKENS), (5, 1, 3)])
@pytest.mark.parametrize("lstm", [False, True])
def test_operations_recorded_in_one_step_are_right_for_all(
    kind: WeightKind, lengths: tuple[int, ...], lstm: bool
) -> None:
    """A recorded step stands for a CUDA graph: it runs no Python, in the second time and later."""
    decoder, context = make(32, 4), make_context(32, lengths)
    if lstm:
        decoder = Decoder(CausalLSTM(32, 2), decoder.heads).eval()
    decoder = with_weights(decoder, kind)
    x = torch.randn(len(lengths), STEPS, 32)
    with torch.no_grad():
        expected = decode(decoder.begin, x, context, 4)
        cache = decoder.backbone.cache(context, STEPS)
        found = [decoder.last(x[:, :4], context, cache)]
        kept = [tensor.clone() for tensor in tensors_of(cache)]
        recorded = make_fx(lambda x: decoder.last(x, context, cache))(x[:, 4:5])
        for tensor, before in zip(tensors_of(cache), kept, strict=True):
            tensor.copy_(before)
        found += [recorded(x[:, place : place + 1]) for place in range(4, STEPS)]
    torch.testing.assert_close(torch.stack(found, dim=1), expected, atol=1e-5, rtol=0)


def tensors_of(cache: Any) -> list[Tensor]:
    return list(cache if isinstance(cache, tuple) else vars(cache).values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs a GPU")
@pytest.mark.parametrize("lstm", [False, True])
def test_a_cuda_graph_gives_what_single_operations_give(lstm: bool) -> None:
    with torch.no_grad(), torch.device("cuda"):
        decoder, context = make(32, 4), make_context(32, (5, 1, 3))
        if lstm:
            decoder = Decoder(CausalLSTM(32, 2), decoder.heads).eval()
        x = torch.randn(3, STEPS, 32)
        found = decode(compiled(decoder, "fp32"), x, context, 4)
        torch.testing.assert_close(found, decoder(x, context)[:, 3:], atol=1e-3, rtol=0)


def test_only_single_steps_are_graphed() -> None:
    """Without a GPU: the first single step runs as it is, and so do steps given at once."""
    counts: list[int] = []

    def step(x: Tensor) -> Tensor:
        counts.append(x.shape[1])
        return x[:, -1]

    graphed = Graphed(step)
    for count in (4, 1, 3):
        graphed(torch.zeros(1, count, 2))
    assert counts == [4, 1, 3]


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


IN_ITS_OWN_PROCESS = """
import torch
from torch import nn
from audiogen.nn.compiled import compiled
from audiogen.nn.decoder import Decoder
from audiogen.nn.transformer import Transformer
from audiogen.types import Context
torch.set_num_threads(1)
step = compiled(Decoder(Transformer(24, 2, 2, causal=True), nn.Linear(24, 3)), "fp32")(
    Context(
        sequence=torch.ones(1, 2, 24),
        mask=torch.ones(1, 2, dtype=torch.bool),
        vector=torch.ones(1, 24),
    ),
    2,
)
step(torch.ones(1, 1, 24))
from audiogen.nn.compiled import kernels
print(sum(kernels.take_step.stats.cache_hits.values()), torch.get_num_threads())
"""


def test_another_process_loads_what_was_compiled_and_torch_keeps_its_number_of_threads() -> None:
    """When numba starts its threads, it sets the number of torch's too."""
    decoder = make(24, 2)
    with torch.inference_mode():
        decode(compiled(decoder, "fp32"), torch.randn(1, 1, 24), make_context(24, (5,)))
    found = subprocess.run(
        [sys.executable, "-c", IN_ITS_OWN_PROCESS],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NUMBA_NUM_THREADS": "2"},
    )
    assert found.stdout.split() == ["1", "1"]


def test_two_processes_do_not_compile_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_seen", set())
    begin, context = compiled(make(24, 2), "fp32"), make_context(24, (5,))
    with torch.inference_mode(), ThreadPoolExecutor(1) as pool:
        with in_turn(Path(kernels.take_step.stats.cache_path)):
            step = pool.submit(decode, begin, torch.randn(1, 1, 24), context)
            with pytest.raises(TimeoutError):
                step.result(timeout=0.5)
        assert step.result().isfinite().all()
    assert cpu._seen == {"fp32"}


def test_numba_is_imported_in_one_room_only() -> None:
    package = Path(audiogen.__file__).parent
    importing = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] in ("numba", "llvmlite") for name in names):
                importing.add(path.relative_to(package).parent.as_posix())
    assert importing == {"nn/compiled"}
