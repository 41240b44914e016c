"""What codecs with continuous latents share: the one scaling of latents."""

from __future__ import annotations

import torch
from torch import Tensor

from audiogen.codecs.base import Codec
from audiogen.codecs.config import CodecConfig


class ContinuousCodec(Codec):
    """A codec whose latents are scaled to zero mean and unit variance per channel.

    Before `set_scale` the scaling changes nothing.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: CodecConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        self.spec = config.spec(channels)
        self.register_buffer("latent_mean", torch.zeros(channels, 1))
        self.register_buffer("latent_std", torch.ones(channels, 1))

    def scaled(self, raw: Tensor) -> Tensor:
        """Scale raw latents (B, D, L) to those that `encode` returns."""
        return (raw - self.latent_mean) / self.latent_std

    def unscaled(self, latents: Tensor) -> Tensor:
        """Undo `scaled`."""
        return latents * self.latent_std + self.latent_mean

    @torch.no_grad()
    def set_scale(self, latents: Tensor) -> None:
        """Make `encode` return zero mean and unit variance on data like `latents` (D, L)."""
        mean = latents.mean(dim=1, keepdim=True)
        std = latents.std(dim=1, keepdim=True).clamp_min(1e-4)
        self.latent_mean.add_(mean * self.latent_std)
        self.latent_std.mul_(std)
