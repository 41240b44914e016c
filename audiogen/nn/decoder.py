"""Causal networks over embedded steps, for models of tokens; the Transformer among them.

They have two ways through the same weights: `forward` over all steps at once, to train, and `step`
with a cache, to decode. What `step` returns for a step is what `forward` returns for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from audiogen.nn.chance import Dropout
from audiogen.nn.step_graph import StepGraph
from audiogen.nn.transformer import (
    CrossAttention,
    FeedForward,
    SelfAttention,
    attend,
    rotary_table,
)
from audiogen.types import Context

TINY = 1e-30
"""Stands for the length of a vector of zeros."""


class Backbone(nn.Module, ABC):
    """A network over S embedded steps of width `dim`, in a context of the same width."""

    @abstractmethod
    def forward(
        self, x: Tensor, context: Context, *, mask: Tensor | None = None, causal: bool = True
    ) -> Tensor:
        """Run over all steps.

        Args:
            x: (B, S, dim), the steps 0 to S - 1.
            context: of width `dim`.
            mask: (B, S), True where a step is real. When causal, padding behind the end is never
                seen and needs no mask.
            causal: whether a step sees itself and earlier steps only; else it sees all.

        Returns:
            (B, S, dim), of about unit variance.
        """

    @abstractmethod
    def cache(self, context: Context, max_steps: int, *, graph: bool = False) -> Any:
        """Make what `step` needs: what the context alone decides, and room for `max_steps`.

        Args:
            context: as of `forward`.
            max_steps: of all that follow.
            graph: whether single steps are replayed as a CUDA graph.

        Raises:
            ValueError: a graph, and the network is not on a GPU or has no such step.
        """

    @abstractmethod
    def step(self, x: Tensor, cache: Any) -> Tensor:
        """Run over the next steps and add them to the cache.

        Args:
            x: (B, s, dim); s is 1 while decoding, and more where steps are given beforehand.
            cache: of this network's `cache`.

        Returns:
            (B, s, dim), as `forward` over the steps so far gives for the last s of them.

        Raises:
            ValueError: the cache has no room for s more steps.
        """


def checked_end(x: Tensor, length: int, max_steps: int) -> int:
    """Steps after those of x; ValueError when there is no room for them."""
    end = length + x.shape[1]
    if end > max_steps:
        raise ValueError(
            f"decoder: {length} steps and {x.shape[1]} more do not fit into a cache of {max_steps}"
        )
    return end


@dataclass(frozen=True, kw_only=True)
class Gains:
    """Gains of the norms before attention, cross-attention and feed-forward, and inside the former.

    The first three are (dim,); `heads` is (2, 1, head_dim), of queries and keys, and `query`
    (head_dim,). Those of queries hold the scale of the scores.
    """

    attention: Tensor
    cross: Tensor
    feed: Tensor
    heads: Tensor
    query: Tensor


@dataclass(frozen=True, kw_only=True)
class LayerCache:
    """What a layer keeps while decoding; R is batch times heads.

    Attributes:
        keys: of the steps (R, max_steps, head_dim).
        values: likewise.
        context_keys: (R, N, head_dim).
        context_values: likewise.
        gains: of the norms, as `_gain` gives them.
    """

    keys: Tensor
    values: Tensor
    context_keys: Tensor
    context_values: Tensor
    gains: Gains


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a single step stands.

    Attributes:
        index: its number, (1,).
        turn: its rotary angles (head_dim // 2,).
        stop: the cache is read up to here.
        bias: 0 or -inf where it has a place that is still to come (1, 1, stop); None if it has not.
    """

    index: Tensor
    turn: Tensor
    stop: int
    bias: Tensor | None


@dataclass(kw_only=True)
class TransformerCache:
    """What a `CausalTransformer` keeps while decoding.

    Attributes:
        keys: of all layers and steps (depth, R, max_steps, head_dim).
        values: likewise.
        layers: views of those, and what else each layer keeps.
        allowed: (B, 1, 1, N), True where the context may be attended to.
        bias: the same as a sum (R, 1, N), 0 or -inf; None where all is allowed.
        vector: (B, 1, dim), added to each step.
        table: rotary angles (max_steps, head_dim // 2).
        gain: of the last norm (dim,).
        graph: takes single steps; None where they are taken one operation after the other.
        length: steps so far.
    """

    keys: Tensor
    values: Tensor
    layers: list[LayerCache]
    allowed: Tensor
    bias: Tensor | None
    vector: Tensor
    table: Tensor
    gain: Tensor
    graph: StepGraph | None = None
    length: int = 0

    def place(self, now: int) -> Place:
        """The place of step `now`, behind which the cache is not read."""
        index = torch.full((1,), now, device=self.table.device)
        return Place(index=index, turn=self.table[now], stop=now + 1, bias=None)

    def place_at(self, index: Tensor) -> Place:
        """The place of step `index` (1,): no shape depends on it, and its value is not read."""
        steps = torch.arange(len(self.table), device=index.device)
        bias = torch.zeros_like(steps, dtype=torch.float32).masked_fill(steps > index, -torch.inf)
        turn = self.table.index_select(0, index)[0]
        return Place(index=index, turn=turn, stop=len(self.table), bias=bias[None, None])


def _gain(norm: nn.RMSNorm) -> Tensor:
    """The gain with which `_normalised` is `norm`."""
    gain: Tensor = norm.weight * norm.weight.shape[0] ** 0.5
    return gain


def _normalised(x: Tensor, gain: Tensor) -> Tensor:
    """RMSNorm over the last dimension in few operations: for one step, each costs about the same.

    It differs from `nn.RMSNorm` by its eps, which is below a rounding error unless x is tiny.
    """
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    out: Tensor = (x / length.clamp_min_(TINY)).mul_(gain)
    return out


def _attend_once(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Attention of one scaled query (R, 1, C) to keys and values (R, N, C): (R, 1, C).

    It is written out, as the fused kernels are made for many queries.
    """
    key = key.transpose(1, 2)
    scores = torch.bmm(query, key) if bias is None else torch.baddbmm(bias, query, key)
    return torch.bmm(scores.softmax(dim=-1), value)


class DecoderBlock(nn.Module):
    """Self-attention, cross-attention and feed-forward, each behind an RMSNorm."""

    def __init__(self, dim: int, depth: int, num_heads: int, dropout: float) -> None:
        """Make one of `depth` blocks."""
        super().__init__()
        self.num_heads = num_heads
        self.dropout = Dropout(dropout)
        self.self_norm = nn.RMSNorm(dim)
        self.self_attention = SelfAttention(dim, num_heads)
        self.cross_norm = nn.RMSNorm(dim)
        self.cross_attention = CrossAttention(dim, num_heads)
        self.feed_norm = nn.RMSNorm(dim)
        self.feed_forward = FeedForward(dim, round(dim * 8 / 3 / 64) * 64)
        for last in (
            self.self_attention.project,
            self.cross_attention.project,
            self.feed_forward.down,
        ):
            # So that 3 depth sums leave the variance about as it is (Radford et al. 2019, GPT-2).
            nn.init.normal_(last.weight, std=(3 * depth * last.in_features) ** -0.5)

    def forward(
        self, x: Tensor, table: Tensor, mask: Tensor | None, context: Context, *, causal: bool
    ) -> Tensor:
        """Map all steps (B, S, dim) to (B, S, dim)."""
        x = x + self.dropout(self.self_attention(self.self_norm(x), table, mask, causal=causal))
        seen = self.cross_attention(self.cross_norm(x), context.sequence, context.mask)
        x = x + self.dropout(seen)
        out: Tensor = x + self.dropout(self.feed_forward(self.feed_norm(x)))
        return out

    def cache(self, context: Context, keys: Tensor, values: Tensor) -> LayerCache:
        """Compute what does not change; the steps go to `keys` and `values` (R, S, head_dim)."""
        context_keys, context_values = self.cross_attention.keys_and_values(context.sequence)
        width = keys.shape[-1]
        own = self.self_attention
        norms = torch.stack([_gain(own.query_norm) * width**-0.5, _gain(own.key_norm)])
        gains = Gains(
            attention=_gain(self.self_norm),
            cross=_gain(self.cross_norm),
            feed=_gain(self.feed_norm),
            heads=norms[:, None],
            query=_gain(self.cross_attention.query_norm) * width**-0.5,
        )
        return LayerCache(
            keys=keys,
            values=values,
            context_keys=context_keys.flatten(0, 1).contiguous(),
            context_values=context_values.flatten(0, 1).to(keys.dtype).contiguous(),
            gains=gains,
        )

    def steps(self, x: Tensor, cache: TransformerCache, layer: LayerCache) -> Tensor:
        """Map the next steps (B, s, dim) to (B, s, dim)."""
        start, end = cache.length, cache.length + x.shape[1]
        split = (len(x), self.num_heads, -1, layer.keys.shape[-1])
        keys, values = layer.keys.view(split), layer.values.view(split)
        query, key, value = self.self_attention.heads(self.self_norm(x), cache.table[start:end])
        keys[:, :, start:end], values[:, :, start:end] = key, value
        seen = attend(query, keys[:, :, :end], values[:, :, :end], None, causal=True)
        x = x + self.self_attention.project(seen)
        x = x + self.cross_attention.attend(
            self.cross_norm(x),
            layer.context_keys.view(split),
            layer.context_values.view(split),
            cache.allowed,
        )
        out: Tensor = x + self.feed_forward(self.feed_norm(x))
        return out

    def one_step(
        self, x: Tensor, cache: TransformerCache, layer: LayerCache, place: Place
    ) -> Tensor:
        """Do what `steps` does for a single step x (B, dim), in as few operations as possible."""
        batch, gains = len(x), layer.gains
        width = layer.keys.shape[-1]
        raw = self.self_attention.qkv(_normalised(x, gains.attention)).float()
        heads = raw.view(batch, 3, -1, width).transpose(0, 1).reshape(3, -1, width)
        pairs = _normalised(heads[:2], gains.heads).view(2, -1, width // 2, 2)
        turned = torch.view_as_complex(pairs) * place.turn
        query, key = torch.view_as_real(turned).view(2, -1, 1, width)
        layer.keys.index_copy_(1, place.index, key)
        layer.values.index_copy_(1, place.index, heads[2][:, None])
        keys, values = layer.keys[:, : place.stop], layer.values[:, : place.stop]
        seen = _attend_once(query, keys, values, place.bias)
        x = x + self.self_attention.project(seen.view(batch, -1))
        query = self.cross_attention.query(_normalised(x, gains.cross)).float()
        query = _normalised(query.view(-1, 1, width), gains.query)
        seen = _attend_once(query, layer.context_keys, layer.context_values, cache.bias)
        x = x + self.cross_attention.project(seen.view(batch, -1))
        out: Tensor = x + self.feed_forward(_normalised(x, gains.feed))
        return out


class CausalTransformer(Backbone):
    """A pre-norm decoder with rotary positions, SwiGLU and cross-attention to the context.

    The parts are those of Llama (Touvron et al. 2023); how it is conditioned is that of MusicGen
    (Copet et al. 2023), with the context's vector added to the steps.
    """

    def __init__(self, dim: int, depth: int, num_heads: int, dropout: float = 0.0) -> None:
        """Make a network of `depth` blocks.

        Args:
            dim: width, a multiple of twice `num_heads`.
            depth: number of blocks.
            num_heads: of attention.
            dropout: share of what each part of a block adds that is left out while training.
        """
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        blocks = (DecoderBlock(dim, depth, num_heads, dropout) for _ in range(depth))
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.RMSNorm(dim)

    def forward(
        self, x: Tensor, context: Context, *, mask: Tensor | None = None, causal: bool = True
    ) -> Tensor:
        """Run over all steps, as `Backbone.forward` says."""
        x = x + context.vector[:, None]
        table = rotary_table(torch.arange(x.shape[1], device=x.device), self.head_dim)
        for block in self.blocks:
            x = block(x, table, mask, context, causal=causal)
        out: Tensor = self.norm(x)
        return out

    @torch.no_grad()
    def cache(self, context: Context, max_steps: int, *, graph: bool = False) -> TransformerCache:
        """Make a cache with the context's keys and values and room for `max_steps`."""
        device = context.sequence.device
        if graph and device.type != "cuda":
            raise ValueError(
                f"decoder: a CUDA graph needs a GPU, and the network is on {device}:"
                " set cuda_graph=false"
            )
        positions = torch.arange(max_steps, device=device)
        bias = None
        if not bool(context.mask.all()):
            zeros = torch.zeros_like(context.mask, dtype=torch.float32)
            closed = zeros.masked_fill(~context.mask, -torch.inf)
            bias = closed.repeat_interleave(self.num_heads, dim=0)[:, None]
        blocks, rows = self._blocks(), len(context.vector) * self.num_heads
        # Zeros, as hidden places are multiplied with 0, which makes NaN of what is not finite.
        keys = torch.zeros(len(blocks), rows, max_steps, self.head_dim, device=device)
        values = torch.zeros_like(keys)
        layers = [
            block.cache(context, keys[index], values[index]) for index, block in enumerate(blocks)
        ]
        return TransformerCache(
            keys=keys,
            values=values,
            layers=layers,
            allowed=context.mask[:, None, None, :],
            bias=bias,
            vector=context.vector[:, None],
            table=rotary_table(positions, self.head_dim),
            gain=_gain(self.norm),
            graph=StepGraph() if graph else None,
        )

    @torch.no_grad()  # layers share a cache in which gradients have no place
    def step(self, x: Tensor, cache: TransformerCache) -> Tensor:
        """Run over the next steps, as `Backbone.step` says."""
        end = checked_end(x, cache.length, len(cache.table))
        x = x + cache.vector
        if x.shape[1] > 1:
            for block, layer in zip(self._blocks(), cache.layers, strict=True):
                x = block.steps(x, cache, layer)
            x = self.norm(x)
        elif cache.graph is not None:
            x = cache.graph(
                lambda x, index: self._one_step(x, cache, cache.place_at(index)),
                x[:, 0],
                cache.length,
            )[:, None]
        else:
            x = self._one_step(x[:, 0], cache, cache.place(cache.length))[:, None]
        cache.length = end
        return x

    def _one_step(self, x: Tensor, cache: TransformerCache, place: Place) -> Tensor:
        for block, layer in zip(self._blocks(), cache.layers, strict=True):
            x = block.one_step(x, cache, layer, place)
        return _normalised(x, cache.gain)

    def _blocks(self) -> list[DecoderBlock]:
        return cast("list[DecoderBlock]", list(self.blocks))
