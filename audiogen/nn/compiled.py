"""Decoders on a CPU whose single steps run as one compiled function; see `audiogen.nn.kernels`.

The function is compiled when it is first called, for one kind of weights, and kept on disk for the
next time. Weights may be in fewer bits, which are read faster; all else is float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numba
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from audiogen.nn import kernels
from audiogen.nn.decoder import (
    Backbone,
    CausalTransformer,
    DecoderBlock,
    TransformerCache,
    checked_end,
)
from audiogen.nn.lowbit import WeightKind, quantised, with_weights
from audiogen.nn.step_arrays import Gains, Matrices, Memory, Scratch
from audiogen.types import Context


class CompiledLinear(nn.Module):
    """A linear layer for a few rows at a time; CPU."""

    def __init__(self, layer: nn.Linear, kind: WeightKind) -> None:
        """Copy a layer, with weights of a kind."""
        super().__init__()
        self._in, self._out = layer.in_features, layer.out_features
        parts = torch.get_num_threads()
        panels = _aligned((parts, *_panel_shape(layer, parts)), kind)
        self._arrays = panels, *_fill(panels, layer, kind)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out), both float32."""
        rows = x.detach().reshape(-1, self._in).numpy()
        padded = _padded(len(rows), self._in)
        padded[:, : self._in] = rows
        out = np.empty((len(rows), self._out), np.float32)
        with _threads(len(self._arrays[0])):
            kernels.multiply(*self._arrays, padded, out)
        return torch.from_numpy(out).view(*x.shape[:-1], self._out)


@dataclass(frozen=True, kw_only=True)
class CompiledCache:
    """What a `CompiledTransformer` keeps: a Transformer's cache, and arrays that share it."""

    whole: TransformerCache
    vector: NDArray[Any]
    gains: Gains
    memory: Memory
    scratch: Scratch


class CompiledTransformer(Backbone):
    """A `CausalTransformer` for inference on a CPU that takes single steps much faster.

    Its other ways are those of the network, with weights of the same kind.
    """

    def __init__(self, network: CausalTransformer, kind: WeightKind) -> None:
        """Copy the weights of a network; steps given at once use its own where `kind` is fp32."""
        super().__init__()
        self._network = network if kind == "fp32" else with_weights(network, kind)
        blocks = cast("Sequence[DecoderBlock]", network.blocks)
        self._hidden_dim = blocks[0].feed_forward.down.in_features
        layers = Matrices(
            qkv=[block.self_attention.qkv for block in blocks],
            project=[block.self_attention.project for block in blocks],
            query=[block.cross_attention.query for block in blocks],
            cross_project=[block.cross_attention.project for block in blocks],
            gate_up=[block.feed_forward.gate_up for block in blocks],
            down=[block.feed_forward.down for block in blocks],
        )
        groups = Matrices(1, 1, 1, 1, 2, 1)
        self._panels = _panels(layers, kind, groups)
        scales, biases = [], []
        for panels, same, count in zip(self._panels, layers, groups, strict=True):
            found = [_fill(*pair, kind, count) for pair in zip(panels, same, strict=True)]
            scale, bias = zip(*found, strict=True)
            scales.append(np.stack(scale))
            biases.append(np.stack(bias))
        self._scales, self._biases = Matrices(*scales), Matrices(*biases)

    def forward(
        self, x: Tensor, context: Context, *, mask: Tensor | None = None, causal: bool = True
    ) -> Tensor:
        """Run over all steps, as `Backbone.forward` says."""
        out: Tensor = self._network(x, context, mask=mask, causal=causal)
        return out

    def cache(self, context: Context, max_steps: int, *, graph: bool = False) -> CompiledCache:
        """Make a cache, as `Backbone.cache` says."""
        whole = cast("CausalTransformer", self._network).cache(context, max_steps, graph=graph)
        layers, batch = whole.layers, len(context.vector)
        hidden = torch.zeros(context.mask.shape).masked_fill(~context.mask, -torch.inf)
        memory = Memory(
            keys=_array(whole.keys),
            values=_array(whole.values),
            context_keys=_array(torch.stack([layer.context_keys for layer in layers])),
            context_values=_array(torch.stack([layer.context_values for layer in layers])),
            hidden=_array(hidden),
            seen=np.zeros(max_steps, np.float32),
            cos=_array(whole.table.real),
            sin=_array(whole.table.imag),
        )
        gains = Gains(
            attention=_array(torch.stack([layer.gains.attention for layer in layers])),
            cross=_array(torch.stack([layer.gains.cross for layer in layers])),
            feed=_array(torch.stack([layer.gains.feed for layer in layers])),
            query=_array(torch.stack([layer.gains.heads[0, 0] for layer in layers])),
            key=_array(torch.stack([layer.gains.heads[1, 0] for layer in layers])),
            cross_query=_array(torch.stack([layer.gains.query for layer in layers])),
            last=_array(whole.gain),
        )
        dim = len(whole.gain)
        scratch = Scratch(
            x=np.zeros((batch, dim), np.float32),
            normed=_padded(batch, dim),
            heads=np.zeros((batch, 3 * dim), np.float32),
            attended=_padded(batch, dim),
            active=_padded(batch, self._hidden_dim),
        )
        return CompiledCache(
            whole=whole,
            vector=_array(whole.vector[:, 0]),
            gains=gains,
            memory=memory,
            scratch=scratch,
        )

    @torch.no_grad()
    def step(self, x: Tensor, cache: CompiledCache) -> Tensor:
        """Run over the next steps, as `Backbone.step` says."""
        whole, scratch = cache.whole, cache.scratch
        if x.shape[1] > 1:
            return cast("CausalTransformer", self._network).step(x, whole)
        end = checked_end(x, whole.length, len(whole.table))
        np.add(x.detach()[:, 0].numpy(), cache.vector, out=scratch.x)
        with _threads(self._panels.qkv.shape[1]):
            kernels.take_step(
                self._panels,
                self._scales,
                self._biases,
                cache.gains,
                cache.memory,
                scratch,
                whole.length,
            )
        whole.length = end
        return torch.from_numpy(scratch.x.copy())[:, None]


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


# numpy has no bfloat16: its bits are kept.
_HELD = {"fp32": np.float32, "bf16": np.uint16, "int8": np.int8}


def _aligned(shape: tuple[int, ...], kind: WeightKind) -> NDArray[Any]:
    """Zeros that begin where a line of memory does, as no vector then lies in two."""
    number = np.dtype(_HELD[kind])
    size = math.prod(shape) * number.itemsize
    room = np.zeros(size + kernels.LINE, np.uint8)
    begin = -room.ctypes.data % kernels.LINE
    return room[begin : begin + size].view(number).reshape(shape)


def _panel_shape(layer: nn.Linear, parts: int, groups: int = 1) -> tuple[int, int, int, int]:
    """The shape of each of the panels of a layer."""
    width = -(-layer.out_features // (groups * parts * kernels.WIDE))
    return -(-layer.in_features // kernels.TALL), groups * width, kernels.TALL, kernels.WIDE


def _panels(layers: Matrices, kind: WeightKind, groups: Matrices) -> Matrices:
    """Panels for layers, still empty, as `Matrices` says.

    All that a thread reads lies in one stretch, in the order in which it is read: what is asked for
    ahead is then what the next section needs.
    """
    parts, depth = torch.get_num_threads(), len(layers.qkv)
    shapes = [
        _panel_shape(same[0], parts, count) for same, count in zip(layers, groups, strict=True)
    ]
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    whole = _aligned((parts, depth, ends[-1]), kind)
    found = [
        part.reshape(parts, depth, *shape).swapaxes(0, 1)
        for part, shape in zip(np.split(whole, ends[:-1], axis=2), shapes, strict=True)
    ]
    return Matrices(*found)


def _fill(
    panels: NDArray[Any], layer: nn.Linear, kind: WeightKind, groups: int = 1
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Write the weights of a layer into its panels; the scales and biases of their columns.

    With groups of columns, a panel holds some of each, side by side.
    """
    parts, tall, wide = panels.shape[:3]
    width = wide * kernels.WIDE // groups

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
    blocks = padded.view(parts, wide, kernels.WIDE, tall, kernels.TALL)
    target = torch.from_numpy(panels)
    if kind == "bf16":
        target = target.view(torch.bfloat16)
    target[:] = blocks.permute(0, 3, 1, 4, 2)
    return spread(scale[:, None])[..., 0].numpy(), spread(bias[:, None])[..., 0].numpy()


def _array(values: Tensor) -> NDArray[Any]:
    """The same memory where it is contiguous."""
    return values.detach().contiguous().numpy()


def _padded(batch: int, width: int) -> NDArray[Any]:
    return np.zeros((batch, width + -width % kernels.TALL), np.float32)
