"""What codecs with continuous latents share: the one scaling of latents."""

from __future__ import annotations

import torch
from torch import Tensor

from audiogen.codecs.base import Codec
from audiogen.codecs.config import CodecConfig


class ContinuousCodec(Codec):
    """A codec whose latents are scaled to zero mean and `wanted_std` per channel, mostly one.

    Before `set_scale` the scaling changes nothing. Where the encoder leaves latents open, as that
    of a VAE does, the variance is that of a draw: a channel that says nothing stays noise, and is
    not blown up.
    """

    latent_mean: Tensor
    latent_std: Tensor
    open_variance: Tensor
    """Of what the encoder leaves open (D, 1), before scaling; a codec that leaves any sets it."""

    def __init__(self, config: CodecConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        self.spec = config.spec(channels)
        self.register_buffer("latent_mean", torch.zeros(channels, 1))
        self.register_buffer("latent_std", torch.ones(channels, 1))
        self.register_buffer("open_variance", torch.zeros(channels, 1))

    @property
    def open_std(self) -> Tensor:
        """Standard deviation (D, 1) of what the encoder leaves open, in the latents of `encode`."""
        return self.open_variance.sqrt() / self.latent_std

    def scaled(self, raw: Tensor) -> Tensor:
        """Scale raw latents (B, D, L) to those that `encode` returns."""
        return (raw - self.latent_mean) / self.latent_std

    def unscaled(self, latents: Tensor) -> Tensor:
        """Undo `scaled`."""
        return latents * self.latent_std + self.latent_mean

    @torch.no_grad()
    def set_scale(self, latents: Tensor) -> None:
        """Make draws around what `encode` returns of zero mean and `wanted_std`: (D, L)."""
        mean = latents.mean(dim=1, keepdim=True)
        variance = latents.var(dim=1, keepdim=True) + self.open_std.square()
        std = variance.sqrt().clamp_min(1e-4) / self.wanted_std
        self.latent_mean.add_(mean * self.latent_std)
        self.latent_std.mul_(std)
