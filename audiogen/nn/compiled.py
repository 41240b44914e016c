"""Decoders on a CPU whose single steps run as one compiled function; see `audiogen.nn.kernels`.

The function is compiled when it is first called, for one kind of weights, and kept on disk for the
next time. Weights may be in fewer bits, which are read faster; all else is float32.
"""

from __future__ import annotations

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
        self._arrays = tuple(array[0] for array in _panels([layer], kind))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out), both float32."""
        rows = x.reshape(-1, self._in)
        out = torch.empty(len(rows), self._out)
        padded = F.pad(rows, (0, -self._in % kernels.TALL)).contiguous()
        with _threads(len(self._arrays[0])):
            kernels.multiply(*self._arrays, padded.numpy(), out.numpy())
        return out.view(*x.shape[:-1], self._out)


@dataclass(frozen=True, kw_only=True)
class CompiledCache:
    """What a `CompiledTransformer` keeps: a Transformer's cache, and arrays that share it."""

    whole: TransformerCache
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
        found = Matrices(
            qkv=_panels([block.self_attention.qkv for block in blocks], kind),
            project=_panels([block.self_attention.project for block in blocks], kind),
            query=_panels([block.cross_attention.query for block in blocks], kind),
            cross_project=_panels([block.cross_attention.project for block in blocks], kind),
            gate_up=_panels([block.feed_forward.gate_up for block in blocks], kind, groups=2),
            down=_panels([block.feed_forward.down for block in blocks], kind),
        )
        self._panels, self._scales, self._biases = (
            Matrices(*arrays) for arrays in zip(*found, strict=True)
        )

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
        return CompiledCache(whole=whole, gains=gains, memory=memory, scratch=scratch)

    @torch.no_grad()
    def step(self, x: Tensor, cache: CompiledCache) -> Tensor:
        """Run over the next steps, as `Backbone.step` says."""
        whole, scratch = cache.whole, cache.scratch
        if x.shape[1] > 1:
            return cast("CausalTransformer", self._network).step(x, whole)
        end = checked_end(x, whole.length, len(whole.table))
        scratch.x[:] = (x + whole.vector)[:, 0].numpy()
        with _threads(self._panels.qkv.shape[1]):
            kernels.take_step(
                self._panels, self._scales, self._biases,
                cache.gains, cache.memory, scratch, whole.length,
            )  # fmt: skip
        whole.length = end
        return torch.from_numpy(scratch.x.copy())[:, None]


@contextmanager
def _threads(parts: int) -> Iterator[None]:
    """Let numba use a thread for each part and no more: idle ones would keep cores busy."""
    before = numba.get_num_threads()
    numba.set_num_threads(min(parts, numba.config.NUMBA_NUM_THREADS))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def _panels(
    layers: Sequence[nn.Linear], kind: WeightKind, groups: int = 1
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Panels of layers of one shape, their scales and biases, as `Matrices` says.

    With groups of columns, a panel holds some of each, side by side.
    """
    parts, depth = torch.get_num_threads(), len(layers)
    rows = layers[0].in_features
    columns = layers[0].out_features // groups
    width = -(-columns // (parts * kernels.WIDE)) * kernels.WIDE
    # numpy has no bfloat16: its bits are kept.
    held = {"fp32": np.float32, "bf16": np.uint16, "int8": np.int8}[kind]
    tall, wide = -(-rows // kernels.TALL), groups * width // kernels.WIDE
    array = np.zeros((depth, parts, tall, wide, kernels.TALL, kernels.WIDE), held)
    panels = torch.from_numpy(array)
    if kind == "bf16":
        panels = panels.view(torch.bfloat16)
    scale, bias = torch.zeros(2, depth, parts, groups * width)

    def spread(values: Tensor) -> Tensor:
        """Share (groups columns, in) among the parts: (parts, groups width, in)."""
        apart = values.view(groups, columns, -1)
        shared = F.pad(apart, (0, 0, 0, parts * width - columns)).view(groups, parts, width, -1)
        return shared.transpose(0, 1).reshape(parts, groups * width, -1)

    for index, layer in enumerate(layers):
        weight = layer.weight.detach().float()
        if kind == "int8":
            weight, own = quantised(weight)
        else:
            own = torch.ones(len(weight))
        padded = F.pad(spread(weight), (0, -rows % kernels.TALL))
        blocks = padded.view(parts, wide, kernels.WIDE, tall, kernels.TALL)
        panels[index] = blocks.permute(0, 3, 1, 4, 2)
        scale[index] = spread(own)[..., 0]
        if layer.bias is not None:
            bias[index] = spread(layer.bias.detach())[..., 0]
    return array, _array(scale), _array(bias)


def _array(values: Tensor) -> NDArray[Any]:
    """The same memory where it is contiguous."""
    return values.detach().contiguous().numpy()


def _padded(batch: int, width: int) -> NDArray[Any]:
    return np.zeros((batch, width + -width % kernels.TALL), np.float32)
