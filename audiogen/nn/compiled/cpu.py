"""Decoders on a CPU whose single steps run as one compiled function; see `kernels`.

The function is compiled when it is first called, for one kind of weights, and kept on disk for the
next time. Weights may be in fewer bits, which are read faster; all else is float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numba
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from audiogen.locking import in_turn
from audiogen.nn.attention import rotary_table
from audiogen.nn.compiled import kernels
from audiogen.nn.compiled.kernels import Gains, Memory, Scratch, Weights
from audiogen.nn.decoder import Decoder, Step, bounded
from audiogen.nn.lowbit import WeightKind, quantised
from audiogen.nn.transformer import Transformer, TransformerBlock
from audiogen.types import Context

_seen: set[WeightKind] = set()
"""Kinds of weights that this process has run a step with."""


class CPUDecoder:
    """A decoder with a `Transformer`, whose single steps are compiled.

    Steps given at once are the decoder's own.
    """

    def __init__(self, decoder: Decoder, kept: Decoder, kind: WeightKind) -> None:
        """Copy float32 weights as those of a kind; `kept` has them so, for steps given at once."""
        self._kept, self._kind = kept, kind
        network = cast("Transformer", decoder.backbone)
        self._head_dim = network.head_dim
        self._hidden_dim = cast("TransformerBlock", network.blocks[0]).feed_forward.down.in_features
        self._num_classes = cast("nn.Linear", decoder.heads).out_features
        self._gains = _gains(network)
        self._weights = _weights(decoder, kind)

    @torch.no_grad()
    def begin(self, context: Context, max_steps: int) -> Step:
        """Do what `Decoder.begin` does."""
        with torch.autocast("cpu", enabled=False):
            cache = cast("Transformer", self._kept.backbone).cache(context, max_steps)
        # Arrays that share the cache's memory: it may begin with steps given at once.
        table = rotary_table(torch.arange(max_steps), self._head_dim)
        hidden = torch.zeros(context.mask.shape).masked_fill(~context.mask, -torch.inf)
        memory = Memory(
            keys=_array(cache.keys.flatten(1, 2)),
            values=_array(cache.values.flatten(1, 2)),
            context_keys=_array(cache.context_keys.flatten(1, 2)),
            context_values=_array(cache.context_values.flatten(1, 2)),
            hidden=_array(hidden),
            seen=np.zeros(max_steps, np.float32),
            turns=_array(torch.view_as_real(table)),
        )
        batch, dim = context.vector.shape
        scratch = Scratch(
            x=np.zeros((batch, dim), np.float32),
            normed=_padded(batch, dim),
            heads=np.zeros((batch, 3 * dim), np.float32),
            attended=_padded(batch, dim),
            active=_padded(batch, self._hidden_dim),
            logits=np.zeros((batch, self._num_classes), np.float32),
        )

        @torch.no_grad()
        def take(x: Tensor) -> Tensor:
            if x.shape[1] > 1:
                with torch.autocast("cpu", enabled=False):
                    return self._kept.last(x, context, cache)
            np.add(_array(x[:, 0]), _array(context.vector), out=scratch.x)
            now = int(cache.length)
            with _threads(len(self._weights.numbers)), _alone_at_first(self._kind):
                kernels.take_step(self._weights, self._gains, memory, scratch, now)
            cache.length.add_(1)
            return torch.from_numpy(scratch.logits.copy())

        return bounded(take, max_steps)


@contextmanager
def _threads(parts: int) -> Iterator[None]:
    """Let numba use a thread for each part and no more: idle ones would keep cores busy."""
    of_torch = torch.get_num_threads()
    before = numba.get_num_threads()
    numba.set_num_threads(min(parts, numba.config.NUMBA_NUM_THREADS))
    try:
        yield
    finally:
        numba.set_num_threads(before)
        if torch.get_num_threads() != of_torch:
            # When numba starts its threads it sets OpenMP's number of them, which is also torch's,
            # and with another number torch's sums end in other bits.
            torch.set_num_threads(of_torch)


@contextmanager
def _alone_at_first(kind: WeightKind) -> Iterator[None]:
    """Let other processes wait while a step is compiled, or is read from disk.

    Of two that keep a function at once, numba may keep one's code under the other's signature.
    """
    if kind in _seen:
        yield
        return
    folder = Path(kernels.take_step.stats.cache_path)
    folder.mkdir(parents=True, exist_ok=True)
    with in_turn(folder):
        yield
    _seen.add(kind)


def _gains(network: Transformer) -> Gains:
    def of_blocks(name: str, scale: float = 1.0) -> NDArray[Any]:
        norms = [block.get_submodule(name).weight for block in network.blocks]
        return _array(torch.stack(cast("list[Tensor]", norms)) * scale)

    scale = network.head_dim**-0.5
    return Gains(
        attention=of_blocks("self_norm"),
        cross=of_blocks("cross_norm"),
        feed=of_blocks("feed_norm"),
        query=of_blocks("self_attention.query_norm", scale),
        key=of_blocks("self_attention.key_norm"),
        cross_query=of_blocks("cross_attention.query_norm", scale),
        last=_array(network.norm.weight),
    )


_HELD = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}
_MATRICES = (
    (kernels.QKV, "self_attention.qkv", 1),
    (kernels.PROJECT, "self_attention.project", 1),
    (kernels.QUERY, "cross_attention.query", 1),
    (kernels.CROSS_PROJECT, "cross_attention.project", 1),
    (kernels.GATE_UP, "feed_forward.gate_up", 2),
    (kernels.DOWN, "feed_forward.down", 1),
)
"""Sections, their layers, and groups of columns, of which a panel holds some each, side by side."""


def _weights(decoder: Decoder, kind: WeightKind) -> Weights:
    """All matrices of a step, for as many threads as torch has now."""
    parts = torch.get_num_threads()
    blocks = cast("Transformer", decoder.backbone).blocks
    places = np.zeros((len(blocks), kernels.SECTIONS, 4), np.int64)
    matrices = [
        (places[index, section], cast("nn.Linear", block.get_submodule(name)), groups)
        for index, block in enumerate(blocks)
        for section, name, groups in _MATRICES
    ]
    matrices.append((places[-1, kernels.HEADS], cast("nn.Linear", decoder.heads), 1))
    size = columns = 0
    for place, layer, groups in matrices:
        wide = groups * -(-layer.out_features // (groups * parts * kernels.WIDE))
        tall = -(-layer.in_features // kernels.TALL)
        place[:] = size, columns, tall, wide
        size += tall * wide * kernels.TALL * kernels.WIDE
        columns += wide * kernels.WIDE
    numbers = _zeros(parts, size, _HELD[kind])
    scales, biases = torch.zeros(2, parts, columns)
    for place, layer, groups in matrices:
        _fill((numbers, scales, biases), place.tolist(), layer, groups)
    if kind == "bf16":  # numpy has none: its bits are kept
        numbers = numbers.view(torch.uint16)
    return Weights(
        numbers=numbers.numpy(), scales=scales.numpy(), biases=biases.numpy(), places=places
    )


def _zeros(rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    """Zeros in memory that is read fast: in huge pages, as numpy's is and torch's is not.

    They begin where a line of memory does, as no vector then lies in two.
    """
    size = rows * columns * dtype.itemsize
    room = np.zeros(size + kernels.LINE, np.uint8)
    begin = -room.ctypes.data % kernels.LINE
    return torch.from_numpy(room[begin : begin + size]).view(dtype).view(rows, columns)


def _fill(
    panels: tuple[Tensor, Tensor, Tensor], place: list[int], layer: nn.Linear, groups: int
) -> None:
    """Write a layer's weights into its panels, and the scales and biases of their columns."""
    numbers, scales, biases = panels
    begin, first, tall, wide = place
    parts, width = len(numbers), wide * kernels.WIDE // groups

    def spread(values: Tensor) -> Tensor:
        """Share (groups columns, in) among the parts: (parts, groups width, in)."""
        apart = values.view(groups, -1, values.shape[-1])
        shared = F.pad(apart, (0, 0, 0, parts * width - apart.shape[1]))
        return shared.view(groups, parts, width, -1).transpose(0, 1).flatten(1, 2)

    weight = layer.weight.detach().float()
    scale = torch.ones(len(weight))
    if numbers.dtype == torch.int8:
        weight, scale = quantised(weight)
    bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach()
    padded = F.pad(spread(weight), (0, -layer.in_features % kernels.TALL))
    blocks = padded.view(parts, wide, kernels.WIDE, tall, kernels.TALL).permute(0, 3, 1, 4, 2)
    numbers[:, begin : begin + blocks[0].numel()] = blocks.flatten(1)
    scales[:, first : first + groups * width] = spread(scale[:, None])[..., 0]
    biases[:, first : first + groups * width] = spread(bias[:, None])[..., 0]


def _array(values: Tensor) -> NDArray[Any]:
    """The same memory where it is contiguous."""
    return values.detach().contiguous().numpy()


def _padded(batch: int, width: int) -> NDArray[Any]:
    return np.zeros((batch, width + -width % kernels.TALL), np.float32)
