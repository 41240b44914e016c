"""A Transformer over embedded steps, for models of tokens; causal or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from audiogen.nn.attention import (
    CrossAttention,
    FeedForward,
    LayerCache,
    SelfAttention,
    causal_mask,
    rotary_table,
)
from audiogen.nn.chance import Dropout
from audiogen.nn.decoder import Backbone
from audiogen.types import Context


@dataclass(frozen=True, kw_only=True)
class TransformerCache:
    """What a causal `Transformer` keeps while steps are taken; a step changes it in place.

    Attributes:
        keys: of all layers and steps (depth, B, H, max_steps, head_dim), zeros where there are
            none yet (hidden places are multiplied with 0, which must not be NaN).
        values: likewise.
        context_keys: of the context (depth, B, H, N, head_dim).
        context_values: likewise.
        length: steps so far (1,), where the network is: no step has to ask how many they are.
    """

    keys: Tensor
    values: Tensor
    context_keys: Tensor
    context_values: Tensor
    length: Tensor

    def layer(self, index: int, places: Tensor) -> LayerCache:
        """What one block keeps, for the next steps at `places` (s,)."""
        return LayerCache(
            keys=self.keys[index],
            values=self.values[index],
            context=(self.context_keys[index], self.context_values[index]),
            places=places,
        )


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention and feed-forward, each behind an RMSNorm."""

    def __init__(self, dim: int, depth: int, num_heads: int, dropout: float) -> None:
        """Make one of `depth` blocks."""
        super().__init__()
        self.dropout = Dropout(dropout)
        self.self_norm = nn.RMSNorm(dim)
        self.self_attention = SelfAttention(dim, num_heads)
        self.cross_norm = nn.RMSNorm(dim)
        self.cross_attention = CrossAttention(dim, num_heads)
        self.feed_norm = nn.RMSNorm(dim)
        self.feed_forward = FeedForward(dim)
        for last in (
            self.self_attention.project,
            self.cross_attention.project,
            self.feed_forward.down,
        ):
            # So that 3 depth sums leave the variance about as it is (Radford et al. 2019, GPT-2).
            nn.init.normal_(last.weight, std=(3 * depth * last.in_features) ** -0.5)

    def forward(
        self,
        x: Tensor,
        table: Tensor,
        allowed: Tensor | None,
        context: Context,
        *,
        causal: bool,
        cache: LayerCache | None,
    ) -> Tensor:
        """Map steps (B, S, dim) to (B, S, dim); `SelfAttention` takes the rest."""
        seen = self.self_attention(self.self_norm(x), table, allowed, causal=causal, cache=cache)
        x = x + self.dropout(seen)
        x = x + self.dropout(self.cross_attention(self.cross_norm(x), context, cache))
        out: Tensor = x + self.dropout(self.feed_forward(self.feed_norm(x)))
        return out


class Transformer(Backbone):
    """A pre-norm Transformer with rotary positions, SwiGLU and cross-attention to the context.

    The parts are those of Llama (Touvron et al. 2023); how it is conditioned is that of MusicGen
    (Copet et al. 2023), with the context's vector added to the steps.
    """

    def __init__(
        self, dim: int, depth: int, num_heads: int, *, causal: bool, dropout: float = 0.0
    ) -> None:
        """Make a network; in a causal one a step sees itself and earlier steps only.

        `dropout` is the share of what each part of a block adds that is left out while training.
        """
        super().__init__()
        self.causal = causal
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        blocks = (TransformerBlock(dim, depth, num_heads, dropout) for _ in range(depth))
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.RMSNorm(dim)

    def forward(
        self,
        x: Tensor,
        context: Context,
        *,
        mask: Tensor | None = None,
        cache: TransformerCache | None = None,
    ) -> Tensor:
        """Run over steps, as `Backbone.forward` says.

        A causal network never sees padding, which is behind the end, and takes no mask.
        """
        x = x + context.vector[:, None]
        places = torch.arange(x.shape[1], device=x.device)
        allowed = None if mask is None else mask[:, None, None]
        if cache is not None:
            places = places + cache.length
            allowed = causal_mask(places, cache.keys.shape[3])
        table = rotary_table(places, self.head_dim)
        causal = self.causal and cache is None
        for index, block in enumerate(self.blocks):
            layer = None if cache is None else cache.layer(index, places)
            x = block(x, table, allowed, context, causal=causal, cache=layer)
        if cache is not None:
            cache.length.add_(x.shape[1])
        out: Tensor = self.norm(x)
        return out

    @torch.no_grad()
    def cache(self, context: Context, max_steps: int) -> TransformerCache:
        """Make a cache, as `Backbone.cache` says; ValueError when the network is not causal."""
        if not self.causal:
            raise ValueError("transformer: only a causal network takes step after step")
        blocks = [cast("TransformerBlock", block) for block in self.blocks]
        context_keys, context_values = zip(
            *(block.cross_attention.keys_and_values(context.sequence) for block in blocks),
            strict=True,
        )
        values = torch.stack(context_values)
        depth, batch, heads, _, width = values.shape
        # Attention computes in the numbers of the values.
        kept = values.new_zeros(2, depth, batch, heads, max_steps, width)
        return TransformerCache(
            keys=kept[0],
            values=kept[1],
            context_keys=torch.stack(context_keys).to(values.dtype),
            context_values=values,
            length=torch.zeros(1, dtype=torch.int64, device=values.device),
        )
