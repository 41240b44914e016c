"""Diffusion Transformer over latent frames (Peebles and Xie 2023), with text and controls."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiogen.nn.attention import CrossAttention, FeedForward, SelfAttention, rotary_table
from audiogen.types import Context

LEVEL_DIM = 128


def level_features(level: Tensor, dim: int) -> Tensor:
    """Sines and cosines of noise levels (B,) of order one: (B, dim), dim even.

    The frequencies are low on purpose (one radian to 64 per unit): neighbouring levels must look
    alike, or each would have to be learnt on its own.
    """
    frequencies = 2 ** torch.linspace(0, 6, dim // 2, device=level.device)
    angles = level.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class DiTBlock(nn.Module):
    """Self-attention, cross-attention and feed-forward, each modulated by AdaLN-zero.

    The modulation is one shared projection of the noise level and conditions plus a learnt offset
    per block (AdaLN-single; Chen et al. 2023, PixArt-alpha), which saves a third of the parameters.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.self_attention = SelfAttention(dim, num_heads)
        self.cross_norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.cross_attention = CrossAttention(dim, num_heads)
        self.feed_norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.feed_forward = FeedForward(dim)
        self.offsets = nn.Parameter(torch.zeros(9, dim))

    def forward(
        self, x: Tensor, modulation: Tensor, table: Tensor, allowed: Tensor | None, context: Context
    ) -> Tensor:
        """Map frames x (B, L, dim) with modulation (B, 9, dim) to (B, L, dim).

        `SelfAttention` takes the rotary `table` and where attention is `allowed`.
        """
        parts = (modulation + self.offsets)[:, :, None].unbind(dim=1)  # nine of (B, 1, dim)
        y = self.self_norm(x) * (1 + parts[0]) + parts[1]
        x = x + parts[2] * self.self_attention(y, table, allowed)
        y = self.cross_norm(x) * (1 + parts[3]) + parts[4]
        x = x + parts[5] * self.cross_attention(y, context)
        y = self.feed_norm(x) * (1 + parts[6]) + parts[7]
        out: Tensor = x + parts[8] * self.feed_forward(y)
        return out


class DiT(nn.Module):
    """A Transformer from noisy latents to a tensor of the same shape.

    `patch_frames` latent frames make one token (the patches of Peebles and Xie), so that the
    codec's frame rate does not fix the Transformer's.
    """

    def __init__(
        self,
        channels: int,
        dim: int,
        depth: int,
        num_heads: int,
        patch_frames: int = 1,
        *,
        infill: bool = False,
    ) -> None:
        """Make a network that is zero at initialisation; with `infill` frames can be given."""
        super().__init__()
        self.patch_frames = patch_frames
        self.head_dim = dim // num_heads
        self.embed = nn.Linear(patch_frames * channels, dim)
        self.given = nn.Linear(patch_frames * (channels + 1), dim, bias=False) if infill else None
        self.level = nn.Sequential(nn.Linear(LEVEL_DIM, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.modulation = nn.Linear(dim, 9 * dim)
        self.blocks = nn.ModuleList(DiTBlock(dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.final = nn.Linear(dim, 2 * dim)
        self.head = nn.Linear(dim, patch_frames * channels)
        for layer in (self.modulation, self.final, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        if self.given is not None:
            nn.init.zeros_(self.given.weight)

    def forward(
        self,
        x: Tensor,
        level: Tensor,
        mask: Tensor | None,
        context: Context,
        *,
        given: tuple[Tensor, Tensor] | None = None,
        left_out: Tensor | None = None,
    ) -> Tensor:
        """Run the network.

        Args:
            x: (B, D, L), of about unit variance.
            level: the noise level (B,), of order one; the objective defines its meaning.
            mask: (B, L), True where a frame is real; None is everywhere.
            context: of width `dim`.
            given: latents (B, D, L), and where (B, L) they are given to the network as they are;
                for a network with `infill`.
            left_out: (B, depth), True where an item passes a block by; None is nowhere.

        Returns:
            (B, D, L), zero at initialisation.
        """
        tokens, token_mask = self._to_tokens(x, mask)
        features = level_features(level, LEVEL_DIM)
        signal = nn.functional.silu(self.level(features) + context.vector)
        modulation = self.modulation(signal).reshape(len(x), 9, -1).float()
        positions = torch.arange(tokens.shape[1], device=x.device) * self.patch_frames
        table = rotary_table(positions, self.head_dim)
        y = self.embed(tokens).float()
        if self.given is not None and given is not None:
            latents, where = given
            pair = torch.cat([latents * where[:, None], where[:, None].to(latents)], dim=1)
            y = y + self.given(self._to_tokens(pair, mask)[0])
        allowed = None if token_mask is None else token_mask[:, None, None]
        for index, block in enumerate(self.blocks):
            out = block(y, modulation, table, allowed, context)
            y = out if left_out is None else torch.where(left_out[:, index, None, None], y, out)
        shift, scale = self.final(signal)[:, None].chunk(2, dim=-1)
        patches: Tensor = self.head(self.norm(y) * (1 + scale) + shift)
        frames = patches.reshape(len(x), -1, x.shape[1])  # (B, tokens * patch_frames, D)
        return frames[:, : x.shape[2]].transpose(1, 2)

    def _to_tokens(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Patches (B, tokens, patch_frames * D) and which of them hold a real frame.

        Frames that are not real are zeroed, since a patch may hold some beside real ones.
        """
        spare = -x.shape[2] % self.patch_frames
        if mask is not None:
            x = x * mask[:, None]
            padded = nn.functional.pad(mask, (0, spare))
            mask = padded.reshape(len(x), -1, self.patch_frames).any(dim=2)
        frames = nn.functional.pad(x, (0, spare)).transpose(1, 2)
        return frames.reshape(len(x), -1, self.patch_frames * x.shape[1]), mask
