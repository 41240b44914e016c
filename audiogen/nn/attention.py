"""Parts that the blocks of all our Transformers share: rotary positions, attention, SwiGLU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.types import Context

MATMUL_ATTENTION = 512 * 512
"""Most pairs of query and key for which bf16 attention on a CPU is written out as two products:
their table has to be kept."""


def rotary_table(positions: Tensor, head_dim: int, base: float = 10000.0) -> Tensor:
    """Rotary angles as complex numbers (Su et al. 2021, RoFormer, eq. 34).

    Args:
        positions: (L,), in frames; need not be whole numbers.
        head_dim: even.
        base: the longest wavelength is 2 pi base.

    Returns:
        Complex (L, head_dim // 2).
    """
    exponents = torch.arange(0, head_dim, 2, device=positions.device) / head_dim
    angles = positions.float()[:, None] * base**-exponents
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn the channel pairs of x (B, H, L, head_dim) by a `rotary_table`; float32 out."""
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * table).flatten(-2)


def causal_mask(places: Tensor, num_keys: int) -> Tensor:
    """Which of N keys, in order, queries at `places` (L,) see, themselves and earlier ones.

    Returns:
        Bool (L, N), True where a query sees a key.
    """
    return torch.arange(num_keys, device=places.device) <= places[:, None]


def attend(
    query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, *, causal: bool = False
) -> Tensor:
    """Scaled dot-product attention with the heads joined.

    Args:
        query: (B, H, L, head_dim).
        key: (B, H, N, head_dim).
        value: likewise.
        allowed: True where a query sees a key, of a shape that broadcasts to (B, H, L, N); None is
            everywhere.
        causal: whether each of L = N queries sees its own key and earlier ones only; in the place
            of `allowed`, as kernels are faster where they know.

    Returns:
        (B, L, H * head_dim).
    """
    queries, keys = query.shape[-2], key.shape[-2]
    on_cpu = query.device.type == "cpu"
    # The fused kernel is slow here, in bf16 and in fp32; plain products are not.
    written_out = on_cpu and queries * keys <= MATMUL_ATTENTION and value.dtype == torch.bfloat16
    with torch.autocast(query.device.type, enabled=False):
        if written_out:
            if causal:
                allowed = causal_mask(torch.arange(queries), keys)
            scaled = query * query.shape[-1] ** -0.5
            scores = scaled.bfloat16() @ key.bfloat16().transpose(-1, -2)
            if allowed is not None:
                scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
            out: Tensor = scores.softmax(dim=-1) @ value
        else:
            dtype = torch.float32 if on_cpu else value.dtype
            out = F.scaled_dot_product_attention(
                query.to(dtype),
                key.to(dtype),
                value.to(dtype),
                attn_mask=allowed,
                is_causal=causal,
            )
    return out.transpose(1, 2).flatten(2)


@dataclass(frozen=True, kw_only=True)
class LayerCache:
    """What a block keeps while steps are taken.

    Attributes:
        keys: of the steps (B, H, max_steps, head_dim), zeros where there are none yet.
        values: likewise.
        context: keys and values (B, H, N, head_dim) of the context.
        places: where the next steps belong (s,).
    """

    keys: Tensor
    values: Tensor
    context: tuple[Tensor, Tensor]
    places: Tensor

    def extended(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Put in keys and values (B, H, s, head_dim) of the next steps; return all there are."""
        self.keys.index_copy_(2, self.places, key.to(self.keys.dtype))
        self.values.index_copy_(2, self.places, value.to(self.values.dtype))
        return self.keys, self.values


class SelfAttention(nn.Module):
    """Multi-head self-attention with rotary positions and normalised queries and keys."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.query_norm = nn.RMSNorm(dim // num_heads)
        self.key_norm = nn.RMSNorm(dim // num_heads)
        self.project = nn.Linear(dim, dim)

    def forward(
        self,
        x: Tensor,
        table: Tensor,
        allowed: Tensor | None,
        *,
        causal: bool = False,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """Attend within x (B, L, dim), and to the steps before it that a cache holds.

        Args:
            x: (B, L, dim).
            table: from `rotary_table`, for L positions.
            allowed: where `attend` may look, over the frames of x or over all places of the cache.
            causal: whether `attend` looks back alone.
            cache: takes up the frames of x.

        Returns:
            (B, L, dim).
        """
        heads = self.qkv(x).reshape(*x.shape[:2], 3, self.num_heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        query = rotate(self.query_norm(query.float()), table)
        key = rotate(self.key_norm(key.float()), table)
        if cache is not None:
            key, value = cache.extended(key, value)
        out: Tensor = self.project(attend(query, key, value, allowed, causal=causal))
        return out


class CrossAttention(nn.Module):
    """Multi-head attention from frames to a context sequence."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim, bias=False)
        self.key_value = nn.Linear(dim, 2 * dim, bias=False)
        self.query_norm = nn.RMSNorm(dim // num_heads)
        self.key_norm = nn.RMSNorm(dim // num_heads)
        self.project = nn.Linear(dim, dim)

    def forward(self, x: Tensor, context: Context, cache: LayerCache | None = None) -> Tensor:
        """Attend from x (B, L, dim) to a context, whose keys and values a cache may hold."""
        query = self.query(x).reshape(*x.shape[:2], self.num_heads, -1).transpose(1, 2)
        query = self.query_norm(query.float())
        key, value = self.keys_and_values(context.sequence) if cache is None else cache.context
        out: Tensor = self.project(attend(query, key, value, context.mask[:, None, None]))
        return out

    def keys_and_values(self, sequence: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, N, head_dim) of a sequence (B, N, dim)."""
        heads = self.key_value(sequence).reshape(*sequence.shape[:2], 2, self.num_heads, -1)
        key, value = heads.permute(2, 0, 3, 1, 4)
        return self.key_norm(key.float()), value


class FeedForward(nn.Module):
    """SwiGLU feed-forward (Shazeer 2020) with as many parameters as a plain one of width 4 dim."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden_dim = round(dim * 8 / 3 / 64) * 64
        self.gate_up = nn.Linear(dim, 2 * hidden_dim, bias=False)
        self.down = nn.Linear(hidden_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dim) to (..., dim)."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        y: Tensor = self.down(F.silu(gate) * up)
        return y
