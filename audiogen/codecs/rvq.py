"""A codec of tokens: a trunk around residual quantisation (SoundStream, EnCodec, DAC)."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from audiogen.codecs.base import Codec, CodecOutput
from audiogen.codecs.bottlenecks.quantise import (
    BottleneckConfig,
    ResidualVQConfig,
    build_bottleneck,
)
from audiogen.codecs.trunk import build_trunk
from audiogen.codecs.trunk_config import HarmonicTrunkConfig, TrunkCodecConfig
from audiogen.types import Kind


class RVQConfig(TrunkCodecConfig):
    """Waveform codec of tokens: K per latent frame, each one of V."""

    type: Literal["rvq"] = "rvq"
    latent_channels: int = Field(default=64, gt=0)
    """Numbers per latent frame that are quantised."""
    bottleneck: BottleneckConfig = ResidualVQConfig()
    """How latent frames become tokens."""

    @model_validator(mode="after")
    def _all_is_quantised(self) -> RVQConfig:
        if isinstance(self.trunk, HarmonicTrunkConfig):
            raise ValueError(
                "trunk.type=harmonic measures a pitch, which has no token;"
                " take trunk.type=fourier, or codec.type=vae"
            )
        return self


class RVQCodec(Codec):
    """Encodes to tokens (B, K, L); the first k codebooks alone decode to a coarser sound.

    >>> codec = RVQCodec(RVQConfig(trunk={"encoder_dim": 16, "decoder_dim": 16}))
    >>> tokens = codec.encode(torch.zeros(1, 1, 22050))
    >>> tokens.dtype, codec.decode(tokens[:, :2]).shape
    (torch.int64, torch.Size([1, 1, 22528]))
    """

    kind: ClassVar[Kind] = "tokens"

    config: RVQConfig

    def __init__(self, config: RVQConfig) -> None:
        super().__init__()
        self.config = config
        self.spec = config.spec(config.bottleneck.num_codebooks, config.bottleneck.vocab_size)
        self.trunk = build_trunk(config, config.latent_channels, config.latent_channels)
        self.bottleneck = build_bottleneck(config.bottleneck, config.latent_channels)
        self.encode_context = self.trunk.encode_context
        self.decode_context = self.trunk.decode_context

    def encode_chunk(self, wav: Tensor) -> Tensor:
        """Encode wav (B, C, L * hop_length) as tokens (B, K, L)."""
        return self.bottleneck.tokens(self.trunk.encode(wav))

    def decode_chunk(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Decode tokens (B, k, L) of the first k codebooks to wav (B, C, L * hop_length)."""
        return self.trunk.decode(self.bottleneck.from_tokens(latents), [noise])[0]

    def forward(self, wav: Tensor) -> CodecOutput:
        """Decode quantised latents of wav (B, C, T), twice where the trunk is random."""
        quantised, _, losses = self.bottleneck(self.trunk.encode(wav))
        output = self.trunk.decode_twice(quantised, wav)
        return replace(output, losses={**output.losses, **losses})
