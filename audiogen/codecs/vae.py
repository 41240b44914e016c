"""A variational autoencoder of waveforms (Kingma and Welling 2014)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from audiogen.codecs.base import CodecOutput
from audiogen.codecs.continuous import ContinuousCodec
from audiogen.codecs.trunk import build_trunk
from audiogen.codecs.trunk_config import TrunkCodecConfig
from audiogen.nn.chance import randn
from audiogen.nn.processes import mean_over_processes

OPEN_PACE = 0.02
"""Share by which the variance that is left open follows that of a training step."""


class VAEConfig(TrunkCodecConfig):
    """Waveform VAE: a Gaussian bottleneck."""

    type: Literal["vae"] = "vae"
    latent_channels: int = Field(default=32, gt=0)
    """Numbers per latent frame that are learnt; a harmonic trunk adds two that are measured."""
    kl_weight: float = Field(default=1e-2, ge=0)
    """Weight of the mean KL divergence per latent number, in nats."""


class VAECodec(ContinuousCodec):
    """Encodes to the posterior mean, scaled so that draws have zero mean and unit variance.

    What the trunk measures has the standard deviation that the trunk asks for.

    >>> codec = VAECodec(VAEConfig(trunk={"encoder_dim": 16, "decoder_dim": 16}))
    >>> latents = codec.encode(torch.zeros(1, 1, 22050))
    >>> latents.shape, codec.decode(latents).shape
    (torch.Size([1, 32, 22]), torch.Size([1, 1, 22528]))
    """

    config: VAEConfig

    def __init__(self, config: VAEConfig) -> None:
        channels = config.latent_channels
        trunk = build_trunk(config, 2 * channels, channels)
        super().__init__(config, channels + trunk.measured)
        self.trunk = trunk
        self.encode_context = self.trunk.encode_context
        self.decode_context = self.trunk.decode_context

    def posterior(self, wav: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, each (B, D, L), before scaling."""
        mean, log_variance = self.trunk.encode(wav).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 5)

    def encode_chunk(self, wav: Tensor) -> Tensor:
        """Encode wav (B, C, L * hop_length) as scaled posterior means (B, D, L)."""
        return self.scaled(self._with_measured(self.posterior(wav)[0], wav))

    @property
    def wanted_std(self) -> Tensor:
        """One of what is learnt, and what the trunk asks for of what it measures."""
        std = [1.0] * self.config.latent_channels + list(self.trunk.measured_std)
        return torch.tensor(std, device=self.device)[:, None]

    @property
    def tells_pitch(self) -> bool:
        """Whether the trunk measures one."""
        return self.trunk.measured > 0

    def transposed(self, latents: Tensor, octaves: float) -> Tensor:
        """Latents (B, D, L) of the same sound at another pitch; see `Codec.transposed`."""
        learnt = self.config.latent_channels
        raw = self.unscaled(latents)
        moved = self.trunk.transposed(raw[:, learnt:], octaves)
        return self.scaled(torch.cat([raw[:, :learnt], moved], dim=1))

    def unrolled(self, latents: Tensor, *, ring: bool) -> Tensor:
        """What the trunk decodes, unscaled."""
        return self.trunk.unrolled(self.unscaled(latents), ring=ring)

    def decode_chunk(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Decode what `unrolled` gives to wav (B, C, L * hop_length)."""
        return self.trunk.decode(latents, [noise])[0]

    def forward(self, wav: Tensor) -> CodecOutput:
        """Decode one posterior sample of wav (B, C, T), twice where the trunk is random."""
        mean, log_variance = self.posterior(wav)
        latents = mean + randn(mean.shape, mean.device) * (log_variance / 2).exp()
        if self.training:
            self._note_open(log_variance)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        output = self.trunk.decode_twice(self._with_measured(latents, wav), wav)
        losses = {**output.losses, "kl": self.config.kl_weight * kl}
        return replace(output, losses=losses)

    @torch.no_grad()
    def _note_open(self, log_variance: Tensor) -> None:
        """Let the variance of what is left open follow that of the posterior (B, D, L)."""
        found = mean_over_processes(log_variance.exp().mean(dim=(0, 2)))
        self.open_variance[: len(found), 0].lerp_(found, OPEN_PACE)

    def _with_measured(self, learnt: Tensor, wav: Tensor) -> Tensor:
        """Put what the trunk measures of wav behind what is learnt (B, D, L)."""
        if not self.trunk.measured:
            return learnt
        return torch.cat([learnt, self.trunk.measure(wav)], dim=1)
