"""A variational autoencoder of waveforms (Kingma and Welling 2014)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from audiogen.codecs.base import CodecOutput
from audiogen.codecs.continuous import ContinuousCodec
from audiogen.codecs.trunk import TrunkCodecConfig, build_trunk
from audiogen.nn.chance import randn


class VAEConfig(TrunkCodecConfig):
    """Waveform VAE: a Gaussian bottleneck."""

    type: Literal["vae"] = "vae"
    latent_channels: int = Field(default=32, gt=0)
    """D, numbers per latent frame."""
    kl_weight: float = Field(default=1e-2, ge=0)
    """Weight of the mean KL divergence per latent number, in nats."""


class VAECodec(ContinuousCodec):
    """Encodes to the posterior mean, scaled to zero mean and unit variance per channel.

    >>> codec = VAECodec(VAEConfig(trunk={"encoder_dim": 16, "decoder_dim": 16}))
    >>> latents = codec.encode(torch.zeros(1, 1, 22050))
    >>> latents.shape, codec.decode(latents).shape
    (torch.Size([1, 32, 22]), torch.Size([1, 1, 22528]))
    """

    config: VAEConfig

    def __init__(self, config: VAEConfig) -> None:
        channels = config.latent_channels
        super().__init__(config, channels)
        self.trunk = build_trunk(config, 2 * channels, channels)
        self.encode_context = self.trunk.encode_context
        self.decode_context = self.trunk.decode_context

    def posterior(self, wav: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, each (B, D, L), before scaling."""
        mean, log_variance = self.trunk.encode(wav).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 5)

    def encode_chunk(self, wav: Tensor) -> Tensor:
        """Encode wav (B, C, L * hop_length) as scaled posterior means (B, D, L)."""
        return self.scaled(self.posterior(wav)[0])

    def decode_chunk(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Decode scaled latents (B, D, L) to wav (B, C, L * hop_length)."""
        return self.trunk.decode(self.unscaled(latents), [noise])[0]

    def forward(self, wav: Tensor) -> CodecOutput:
        """Decode one posterior sample of wav (B, C, T), twice where the trunk is random."""
        mean, log_variance = self.posterior(wav)
        latents = mean + randn(mean.shape, mean.device) * (log_variance / 2).exp()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return CodecOutput(
            reconstructions=self.trunk.decode_twice(latents, wav),
            losses={"kl": self.config.kl_weight * kl},
        )
