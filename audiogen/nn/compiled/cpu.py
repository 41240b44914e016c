"""Decoders on a CPU whose single steps run as one compiled function; see `kernels`.

The function is compiled when it is first called, for one kind of weights, and kept on disk for the
next time. Weights may be in fewer bits, which are read faster; all else is float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import numba
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from audiogen.nn.attention import rotary_table
from audiogen.nn.compiled import kernels
from audiogen.nn.compiled.arrays import Gains, Memory, Scratch, Weights
from audiogen.nn.decoder import Bounded, Decoder, Step
from audiogen.nn.lowbit import WeightKind, quantised
from audiogen.nn.transformer import Transformer, TransformerBlock, TransformerCache
from audiogen.types import Context


class CPUDecoder:
    """A decoder with a `Transformer`, whose single steps are compiled.

    Steps given at once are the decoder's own.
    """

    def __init__(self, decoder: Decoder, kept: Decoder, kind: WeightKind) -> None:
        """Copy weights.

        Args:
            decoder: with weights of float32.
            kept: the same with weights of the kind, for steps given at once.
            kind: of the weights of single steps.
        """
        self._kept = kept
        network, heads = cast("Transformer", decoder.backbone), cast("nn.Linear", decoder.heads)
        blocks = [cast("TransformerBlock", block) for block in network.blocks]
        self._head_dim = network.head_dim
        self._hidden_dim = blocks[0].feed_forward.down.in_features
        self._num_classes = heads.out_features
        self._gains = _gains(network, blocks)
        self._weights = _weights(blocks, heads, kind)

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
            cos=_array(table.real),
            sin=_array(table.imag),
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
        return Bounded(partial(self._take, context, cache, memory, scratch), max_steps)

    @torch.no_grad()
    def _take(
        self,
        context: Context,
        cache: TransformerCache,
        memory: Memory,
        scratch: Scratch,
        x: Tensor,
    ) -> Tensor:
        """Take the next steps, as a `Step` does."""
        if x.shape[1] > 1:
            with torch.autocast("cpu", enabled=False):
                return self._kept.last(x, context, cache)
        np.add(_array(x[:, 0]), _array(context.vector), out=scratch.x)
        with _threads(len(self._weights.numbers)):
            kernels.take_step(self._weights, self._gains, memory, scratch, int(cache.length))
        cache.length.add_(1)
        return torch.from_numpy(scratch.logits.copy())


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


def _gains(network: Transformer, blocks: list[TransformerBlock]) -> Gains:
    own = [block.self_attention for block in blocks]
    across = [block.cross_attention for block in blocks]
    scale = network.head_dim**-0.5

    def stacked(norms: list[nn.RMSNorm]) -> Tensor:
        return torch.stack([norm.weight for norm in norms])

    return Gains(
        attention=_array(stacked([block.self_norm for block in blocks])),
        cross=_array(stacked([block.cross_norm for block in blocks])),
        feed=_array(stacked([block.feed_norm for block in blocks])),
        query=_array(stacked([layer.query_norm for layer in own]) * scale),
        key=_array(stacked([layer.key_norm for layer in own])),
        cross_query=_array(stacked([layer.query_norm for layer in across]) * scale),
        last=_array(network.norm.weight),
    )


# numpy has no bfloat16: its bits are kept.
_HELD = {"fp32": np.float32, "bf16": np.uint16, "int8": np.int8}


def _weights(blocks: list[TransformerBlock], heads: nn.Linear, kind: WeightKind) -> Weights:
    """All matrices of a step, for as many threads as torch has now."""
    parts = torch.get_num_threads()
    matrices = [
        (index, section, layer)
        for index, block in enumerate(blocks)
        for section, layer in (
            (kernels.QKV, block.self_attention.qkv),
            (kernels.PROJECT, block.self_attention.project),
            (kernels.QUERY, block.cross_attention.query),
            (kernels.CROSS_PROJECT, block.cross_attention.project),
            (kernels.GATE_UP, block.feed_forward.gate_up),
            (kernels.DOWN, block.feed_forward.down),
        )
    ]
    matrices.append((len(blocks) - 1, kernels.HEADS, heads))
    places = np.zeros((len(blocks), kernels.SECTIONS, 4), np.int64)
    numbers = columns = 0
    for index, section, layer in matrices:
        groups = _groups(section)
        wide = groups * -(-layer.out_features // (groups * parts * kernels.WIDE))
        tall = -(-layer.in_features // kernels.TALL)
        places[index, section] = numbers, columns, tall, wide
        numbers += tall * wide * kernels.TALL * kernels.WIDE
        columns += wide * kernels.WIDE
    weights = Weights(
        numbers=_aligned((parts, numbers), kind),
        scales=np.zeros((parts, columns), np.float32),
        biases=np.zeros((parts, columns), np.float32),
        places=places,
    )
    for index, section, layer in matrices:
        _fill(weights, places[index, section].tolist(), layer, kind, _groups(section))
    return weights


def _groups(section: int) -> int:
    """Groups of columns of a matrix; a panel holds some of each, side by side."""
    return 2 if section == kernels.GATE_UP else 1


def _fill(
    weights: Weights, place: list[int], layer: nn.Linear, kind: WeightKind, groups: int
) -> None:
    """Write the weights of a layer into its panels, and the scales and biases of their columns."""
    begin, first, tall, wide = place
    parts, width = len(weights.numbers), wide * kernels.WIDE // groups

    def spread(values: Tensor) -> Tensor:
        """Share (groups columns, in) among the parts: (parts, groups width, in)."""
        apart = values.view(groups, -1, values.shape[-1])
        shared = F.pad(apart, (0, 0, 0, parts * width - apart.shape[1]))
        return shared.view(groups, parts, width, -1).transpose(0, 1).flatten(1, 2)

    weight = layer.weight.detach().float()
    scale = torch.ones(len(weight))
    if kind == "int8":
        weight, scale = quantised(weight)
    bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach()
    padded = F.pad(spread(weight), (0, -layer.in_features % kernels.TALL))
    blocks = padded.view(parts, wide, kernels.WIDE, tall, kernels.TALL).permute(0, 3, 1, 4, 2)
    target = torch.from_numpy(weights.numbers[:, begin : begin + blocks[0].numel()])
    if kind == "bf16":
        target = target.view(torch.bfloat16)
    target[:] = blocks.flatten(1)
    weights.scales[:, first : first + groups * width] = spread(scale[:, None])[..., 0]
    weights.biases[:, first : first + groups * width] = spread(bias[:, None])[..., 0]


def _aligned(shape: tuple[int, ...], kind: WeightKind) -> NDArray[Any]:
    """Zeros that begin where a line of memory does, as no vector then lies in two."""
    number = np.dtype(_HELD[kind])
    size = math.prod(shape) * number.itemsize
    room = np.zeros(size + kernels.LINE, np.uint8)
    begin = -room.ctypes.data % kernels.LINE
    return room[begin : begin + size].view(number).reshape(shape)


def _array(values: Tensor) -> NDArray[Any]:
    """The same memory where it is contiguous."""
    return values.detach().contiguous().numpy()


def _padded(batch: int, width: int) -> NDArray[Any]:
    return np.zeros((batch, width + -width % kernels.TALL), np.float32)
