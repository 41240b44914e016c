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

    def forward(self, x: Tensor, table: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within x.

        Args:
            x: (B, L, dim).
            table: from `rotary_table`.
            mask: (B, L), True where a frame may be attended to; None is everywhere.

        Returns:
            (B, L, dim).
        """
        heads = self.qkv(x).reshape(*x.shape[:2], 3, self.num_heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        query = rotate(self.query_norm(query.float()), table)
        key = rotate(self.key_norm(key.float()), table)
        out: Tensor = self.project(_attend(query, key, value, mask))
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

    def forward(self, x: Tensor, sequence: Tensor, mask: Tensor) -> Tensor:
        """Attend from x (B, L, dim) to sequence (B, N, dim) where mask (B, N) is True."""
        query = self.query(x).reshape(*x.shape[:2], self.num_heads, -1).transpose(1, 2)
        heads = self.key_value(sequence).reshape(*sequence.shape[:2], 2, self.num_heads, -1)
        key, value = heads.permute(2, 0, 3, 1, 4)
        query, key = self.query_norm(query.float()), self.key_norm(key.float())
        attended = _attend(query, key, value, mask)
        out: Tensor = self.project(attended)
        return out


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention over (B, H, L, head_dim), heads joined: (B, L, dim)."""
    allowed = None if mask is None else mask[:, None, None, :]
    on_cpu = query.device.type == "cpu"
    short = query.shape[-2] * key.shape[-2] <= MATMUL_ATTENTION
    with torch.autocast(query.device.type, enabled=False):
        if on_cpu and short and value.dtype == torch.bfloat16:
            # The fused kernel is slow here, in bf16 and in fp32; plain products are not.
            scaled = query * query.shape[-1] ** -0.5
            scores = scaled.bfloat16() @ key.bfloat16().transpose(-1, -2)
            if allowed is not None:
                scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
            out: Tensor = scores.softmax(dim=-1) @ value
        else:
            dtype = torch.float32 if on_cpu else value.dtype
            out = F.scaled_dot_product_attention(
                query.to(dtype), key.to(dtype), value.to(dtype), attn_mask=allowed
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
