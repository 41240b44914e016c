"""A variational autoencoder on Fourier frames (Kingma and Welling 2014; trunk: nn/fourier.py)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from audiogen.codecs.base import CodecOutput
from audiogen.codecs.continuous import ContinuousCodec
from audiogen.nn.fourier import FourierDecoder, FourierEncoder, FourierFraming
from audiogen.schema import Config
from audiogen.types import LatentSpec


class VAEConfig(Config):
    """Waveform VAE: Fourier trunk, Gaussian bottleneck."""

    type: Literal["vae"] = "vae"
    sample_rate: int = Field(default=22050, ge=8000, le=192000)
    """Hz."""
    audio_channels: Literal[1, 2] = 1
    """1 is mono, 2 is stereo."""
    hop_length: int = Field(default=1024, gt=0)
    """Samples per latent frame; a multiple of `stft_hop`."""
    latent_channels: int = Field(default=32, gt=0)
    """D, numbers per latent frame."""
    n_fft: int = Field(default=1024, gt=0)
    """STFT window in samples; a multiple of `stft_hop`."""
    stft_hop: int = Field(default=256, gt=0)
    """Samples between STFT frames."""
    num_bands: int = Field(default=128, gt=0)
    """Mel bands per STFT frame that the encoder sees."""
    encoder_dim: int = Field(default=256, gt=0)
    encoder_depth: int = Field(default=4, gt=0)
    decoder_dim: int = Field(default=384, gt=0)
    decoder_depth: int = Field(default=8, gt=0)
    kl_weight: float = Field(default=1e-2, ge=0)
    """Weight of the mean KL divergence per latent number, in nats."""

    @model_validator(mode="after")
    def _frames_fit(self) -> VAEConfig:
        if self.hop_length % self.stft_hop or self.n_fft % self.stft_hop:
            raise ValueError(
                f"hop_length={self.hop_length} and n_fft={self.n_fft} must be multiples of"
                f" stft_hop={self.stft_hop}"
            )
        return self


class VAECodec(ContinuousCodec):
    """Encodes to the posterior mean, scaled to zero mean and unit variance per channel."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__(
            LatentSpec(
                kind="continuous",
                channels=config.latent_channels,
                vocab_size=None,
                hop_length=config.hop_length,
                sample_rate=config.sample_rate,
                audio_channels=config.audio_channels,
            )
        )
        self.config = config
        framing = FourierFraming(
            sample_rate=config.sample_rate,
            audio_channels=config.audio_channels,
            n_fft=config.n_fft,
            stft_hop=config.stft_hop,
            hop_length=config.hop_length,
        )
        self.encoder = FourierEncoder(
            framing,
            dim=config.encoder_dim,
            depth=config.encoder_depth,
            num_bands=config.num_bands,
            out_channels=2 * config.latent_channels,
        )
        self.decoder = FourierDecoder(
            framing,
            dim=config.decoder_dim,
            depth=config.decoder_depth,
            in_channels=config.latent_channels,
        )
        self.encode_context = self.encoder.context_frames
        self.decode_context = self.decoder.context_frames

    def posterior(self, wav: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, each (B, D, L), before scaling."""
        mean, log_variance = self.encoder(wav).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 5)

    def encode_chunk(self, wav: Tensor) -> Tensor:
        """Encode wav (B, C, L * hop_length) as scaled posterior means (B, D, L)."""
        return self.scaled(self.posterior(wav)[0])

    def decode_chunk(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Decode scaled latents (B, D, L) to wav (B, C, L * hop_length)."""
        wav: Tensor = self.decoder(self.unscaled(latents), noise)
        return wav

    def forward(self, wav: Tensor) -> CodecOutput:
        """Decode one posterior sample twice, with different noise; add the KL term.

        Args:
            wav: (B, C, T), T a multiple of `hop_length`.
        """
        mean, log_variance = self.posterior(wav)
        latents = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        spectra = self.decoder.spectra(latents)
        first, second = (
            self.decoder.synthesise(spectra, self.decoder.noise_spectrum(torch.randn_like(wav)))
            for _ in range(2)
        )
        return CodecOutput(
            reconstruction=first, alternative=second, losses={"kl": self.config.kl_weight * kl}
        )
