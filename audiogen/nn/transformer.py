"""Transformer parts that several models share: rotary positions, attention, feed-forward."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MATMUL_ATTENTION = 512 * 512
"""Most pairs of query and key for which bf16 attention on a CPU is written out as two products:
their table has to be kept."""


def rotary_table(positions: Tensor, head_dim: int, base: float = 10000.0) -> Tensor:
    """Rotary angles as complex numbers (Su et al. 2021, RoFormer, eq. 34).

    Args:
        positions: (L,) or (B, L), in frames; need not be whole numbers.
        head_dim: even.
        base: the longest wavelength is 2 pi base.

    Returns:
        Complex (..., L, head_dim // 2).
    """
    exponents = torch.arange(0, head_dim, 2, device=positions.device) / head_dim
    angles = positions.float()[..., None] * base**-exponents
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn the channel pairs of x (B, H, L, head_dim) by a `rotary_table`; float32 out."""
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    if table.dim() == 3:
        table = table[:, None]
    return torch.view_as_real(pairs * table).flatten(-2)


class SelfAttention(nn.Module):
    """Multi-head self-attention with rotary positions and normalised queries and keys."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads or (dim // num_heads) % 2:
            raise ValueError(f"attention: dim={dim} over num_heads={num_heads} must be even")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.query_norm = nn.RMSNorm(dim // num_heads)
        self.key_norm = nn.RMSNorm(dim // num_heads)
        self.project = nn.Linear(dim, dim)

    def forward(
        self, x: Tensor, table: Tensor, mask: Tensor | None, *, causal: bool = False
    ) -> Tensor:
        """Attend within x.

        Args:
            x: (B, L, dim).
            table: from `rotary_table`.
            mask: (B, L), True where a frame may be attended to; None is everywhere.
            causal: whether a frame attends to itself and earlier ones only.

        Returns:
            (B, L, dim).
        """
        query, key, value = self.heads(x, table)
        allowed = None if mask is None else mask[:, None, None, :]
        out: Tensor = self.project(attend(query, key, value, allowed, causal=causal))
        return out

    def heads(self, x: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, H, L, head_dim) of x (B, L, dim), turned by `table`."""
        heads = self.qkv(x).reshape(*x.shape[:2], 3, self.num_heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        query = rotate(self.query_norm(query.float()), table)
        key = rotate(self.key_norm(key.float()), table)
        return query, key, value


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

    def forward(self, x: Tensor, sequence: Tensor, mask: Tensor) -> Tensor:
        """Attend from x (B, L, dim) to sequence (B, N, dim) where mask (B, N) is True."""
        key, value = self.keys_and_values(sequence)
        return self.attend(x, key, value, mask[:, None, None, :])

    def keys_and_values(self, sequence: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, N, head_dim) of a sequence (B, N, dim)."""
        heads = self.key_value(sequence).reshape(*sequence.shape[:2], 2, self.num_heads, -1)
        key, value = heads.permute(2, 0, 3, 1, 4)
        return self.key_norm(key.float()), value

    def attend(self, x: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None) -> Tensor:
        """Attend from x (B, L, dim) to `keys_and_values`, where `allowed` (B, 1, 1, N) is True."""
        query = self.query(x).reshape(*x.shape[:2], self.num_heads, -1).transpose(1, 2)
        query = self.query_norm(query.float())
        out: Tensor = self.project(attend(query, key, value, allowed))
        return out


def causal_mask(queries: int, keys: int, device: torch.device) -> Tensor:
    """Which of N keys the last L of N steps may see, themselves and earlier ones: bool (L, N)."""
    all_true = torch.ones(queries, keys, dtype=torch.bool, device=device)
    return all_true.tril(keys - queries)


def attend(
    query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, *, causal: bool = False
) -> Tensor:
    """Scaled dot-product attention over (B, H, L, head_dim), heads joined: (B, L, dim).

    `allowed` is True where a query may see a key, of a shape that broadcasts to (B, H, L, N).
    When causal, the queries are the last L of N steps, which see themselves and earlier ones.
    """
    queries, keys = query.shape[-2], key.shape[-2]
    on_cpu = query.device.type == "cpu"
    # The fused kernel is slow here, in bf16 and in fp32; plain products are not.
    written_out = on_cpu and queries * keys <= MATMUL_ATTENTION and value.dtype == torch.bfloat16
    limited = causal and queries > 1  # a single query is the last and sees all
    kernel_limits = limited and allowed is None and queries == keys and not written_out
    if limited and not kernel_limits:
        earlier = causal_mask(queries, keys, query.device)
        allowed = earlier if allowed is None else allowed & earlier
    with torch.autocast(query.device.type, enabled=False):
        if written_out:
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
                is_causal=kernel_limits,
            )
    return out.transpose(1, 2).flatten(2)


class FeedForward(nn.Module):
    """SwiGLU feed-forward (Shazeer 2020): (..., dim) -> (..., dim)."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(dim, 2 * hidden_dim, bias=False)
        self.down = nn.Linear(hidden_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dim) to (..., dim)."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        y: Tensor = self.down(F.silu(gate) * up)
        return y
