"""A codec of tokens: a trunk around residual quantisation (SoundStream, EnCodec, DAC)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from audiogen.codecs.base import Codec, CodecConfig, CodecOutput
from audiogen.codecs.bottlenecks.quantise import (
    BottleneckConfig,
    ResidualVQConfig,
    build_bottleneck,
)
from audiogen.codecs.trunk import FourierTrunkConfig, TrunkConfig, build_trunk
from audiogen.types import Kind, LatentSpec


class RVQConfig(CodecConfig):
    """Waveform codec of tokens: K per latent frame, each one of V."""

    type: Literal["rvq"] = "rvq"
    latent_channels: int = Field(default=64, gt=0)
    """Numbers per latent frame that are quantised."""
    trunk: TrunkConfig = FourierTrunkConfig()
    """The network around the bottleneck."""
    bottleneck: BottleneckConfig = ResidualVQConfig()
    """How latent frames become tokens."""

    @model_validator(mode="after")
    def _frames_fit(self) -> RVQConfig:
        self.trunk.check_hop(self.hop_length)
        return self


class RVQCodec(Codec):
    """Encodes to tokens (B, K, L); the first k codebooks alone decode to a coarser sound."""

    kind: ClassVar[Kind] = "tokens"

    def __init__(self, config: RVQConfig) -> None:
        super().__init__()
        self.config = config
        self.spec = LatentSpec(
            kind=self.kind,
            channels=config.bottleneck.num_codebooks,
            vocab_size=config.bottleneck.vocab_size,
            hop_length=config.hop_length,
            sample_rate=config.sample_rate,
            audio_channels=config.audio_channels,
        )
        self.trunk = build_trunk(
            config.trunk,
            sample_rate=config.sample_rate,
            audio_channels=config.audio_channels,
            hop_length=config.hop_length,
            encoder_channels=config.latent_channels,
            decoder_channels=config.latent_channels,
        )
        self.bottleneck = build_bottleneck(config.bottleneck, config.latent_channels)
        self.encode_context = self.trunk.encode_context
        self.decode_context = self.trunk.decode_context

    def encode_chunk(self, wav: Tensor) -> Tensor:
        """Encode wav (B, C, L * hop_length) as tokens (B, K, L)."""
        return self.bottleneck.tokens(self.trunk.encode(wav))

    def decode_chunk(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Decode tokens (B, k, L) of the first k codebooks to wav (B, C, L * hop_length)."""
        return self.trunk.decode(self.bottleneck.from_tokens(latents), noise)

    def forward(self, wav: Tensor) -> CodecOutput:
        """Decode quantised latents, twice where the trunk is random; add the bottleneck's losses.

        Args:
            wav: (B, C, T), T a multiple of `hop_length`.
        """
        quantised, _, losses = self.bottleneck(self.trunk.encode(wav))
        first, second = self.trunk.decode_twice(quantised, wav)
        return CodecOutput(reconstruction=first, alternative=second, losses=losses)
