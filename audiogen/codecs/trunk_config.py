"""Settings of trunks, and what all codecs of a trunk say."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from audiogen.audio.spectral import fft_length
from audiogen.codecs.config import CodecConfig
from audiogen.schema import Config, OneOf

LATENT_SECONDS = 0.0464
"""Length of a latent frame where nothing else is said."""


class FramesConfig(Config):
    """STFT frames in, ConvNeXt blocks at the latent rate, inverse STFT out."""

    n_fft: int | None = Field(default=None, gt=0)
    """STFT window in samples, a multiple of `stft_hop`; None is the codec's hop length."""
    stft_hop: int | None = Field(default=None, gt=0)
    """Samples between STFT frames, of which the hop length is a multiple; None is a quarter of it.
    """
    num_bands: int = Field(default=128, gt=0)
    """Mel bands per STFT frame that the encoder sees."""
    encoder_dim: int = Field(default=256, gt=0)
    encoder_depth: int = Field(default=4, gt=0)
    decoder_dim: int = Field(default=384, gt=0)
    decoder_depth: int = Field(default=8, gt=0)

    frames_per_latent: ClassVar[int] = 4
    """STFT frames in a latent frame where nothing else is said."""

    def sizes(self, hop_length: int) -> tuple[int, int]:
        """Samples of an STFT window and between STFT frames, beside latent frames of `hop_length`.

        Raises:
            ValueError: a window or a latent frame does not hold whole STFT frames.
        """
        n_fft = self.n_fft or hop_length
        stft_hop = self.stft_hop or max(1, hop_length // self.frames_per_latent)
        for name, size in (("hop_length", hop_length), ("trunk.n_fft", n_fft)):
            if size % stft_hop:
                raise ValueError(f"{name}={size} must be a multiple of trunk.stft_hop={stft_hop}")
        return n_fft, stft_hop

    def check_hop(self, hop_length: int) -> None:
        """Raise ValueError unless latent frames of `hop_length` samples hold whole STFT frames."""
        self.sizes(hop_length)


class FourierTrunkConfig(FramesConfig):
    """Frames whose magnitudes and phases are learnt, and shaped noise."""

    type: Literal["fourier"] = "fourier"
    wave_bins: int = Field(default=0, ge=0)
    """Lowest MDCT coefficients per latent frame that go straight into the latents and out of them,
    so that the codec keeps the waveform there, where the bitrate allows it; 0 is magnitudes alone.
    They reach up to wave_bins / (2 * hop_length) of the sample rate; more than the codec has latent
    channels begin unheard."""

    def check_hop(self, hop_length: int) -> None:
        """Raise ValueError unless latent frames of `hop_length` samples hold whole STFT frames."""
        super().check_hop(hop_length)
        if self.wave_bins > hop_length or (self.wave_bins and hop_length % 2):
            raise ValueError(
                f"trunk.wave_bins={self.wave_bins} must be at most hop_length={hop_length}, and"
                " hop_length even"
            )


class HarmonicTrunkConfig(FramesConfig):
    """Frames of filtered pulses and noise; two more latent channels are measured, not learnt.

    They hold pitch and periodicity, so that pitch can be heard, moved and modelled; tokens have a
    codebook for them. One source at a time has a pitch: chords and bells become noise of their
    envelope as before.
    """

    type: Literal["harmonic"] = "harmonic"
    stft_hop: int | None = Field(default=None, gt=0)
    """Samples between STFT frames, of which the hop length is a multiple; None is a half of it.
    What is shorter, gains of the waveform tell."""
    frames_per_latent: ClassVar[int] = 2


class ConvTrunkConfig(Config):
    """Strided waveform convolutions with Snake activations (DAC, Oobleck).

    They are trained at DAC's learning rate, `train.codec.optim.lr=1e-4`: at that of the recipes,
    ten times as high, their features grow without bound.
    """

    type: Literal["convnet"] = "convnet"
    strides: tuple[Annotated[int, Field(ge=2)], ...] = Field(default=(4, 4, 8, 8), min_length=1)
    """Of the encoder, in order; their product is the codec's hop length."""
    encoder_dim: int = Field(default=64, gt=0)
    """Channels at the sample rate; each stride doubles them."""
    decoder_dim: int = Field(default=1536, gt=0)
    """Channels at the latent rate; each stride halves them."""

    @model_validator(mode="after")
    def _halves(self) -> ConvTrunkConfig:
        if self.decoder_dim % 2 ** len(self.strides):
            raise ValueError(
                f"decoder_dim={self.decoder_dim} must be a multiple of {2 ** len(self.strides)}:"
                f" it is halved {len(self.strides)} times"
            )
        return self

    def check_hop(self, hop_length: int) -> None:
        """Raise ValueError unless `hop_length` is the product of the strides."""
        if hop_length != math.prod(self.strides):
            raise ValueError(
                f"hop_length={hop_length} must be the product of trunk.strides, which is"
                f" {math.prod(self.strides)}"
            )


TrunkConfig = Annotated[
    FourierTrunkConfig | HarmonicTrunkConfig | ConvTrunkConfig,
    OneOf(lambda: [FourierTrunkConfig, HarmonicTrunkConfig, ConvTrunkConfig], default="fourier"),
]


class TrunkCodecConfig(CodecConfig):
    """A codec of a trunk and a bottleneck; its hop length is as the trunk allows.

    >>> TrunkCodecConfig(type="vae").hop_length
    1024
    >>> TrunkCodecConfig(type="vae", sample_rate=44100).hop_length
    2048
    """

    hop_length: int = Field(
        default_factory=lambda data: fft_length(LATENT_SECONDS, data["sample_rate"]), gt=0
    )
    """Samples per latent frame; where nothing is said, a power of two of about 46 ms."""
    trunk: TrunkConfig = FourierTrunkConfig()
    """The network around the bottleneck."""

    @model_validator(mode="after")
    def _frames_fit(self) -> Self:
        self.trunk.check_hop(self.hop_length)
        return self
