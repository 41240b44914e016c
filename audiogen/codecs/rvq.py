"""A codec of tokens: a trunk around residual quantisation (SoundStream, EnCodec, DAC)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor

from audiogen.codecs.base import CodecOutput
from audiogen.codecs.bottlenecks.pitch_tokens import PitchTokens, pitches_per_level
from audiogen.codecs.bottlenecks.quantise import (
    BottleneckConfig,
    ResidualVQConfig,
    build_bottleneck,
)
from audiogen.codecs.tokens import TokenCodec
from audiogen.codecs.trunk import build_trunk
from audiogen.codecs.trunk_config import HarmonicTrunkConfig, TrunkCodecConfig


class RVQConfig(TrunkCodecConfig):
    """Waveform codec of tokens: K per latent frame, each one of V."""

    type: Literal["rvq"] = "rvq"
    latent_channels: int = Field(default=64, gt=0)
    """Numbers per latent frame that are learnt and quantised."""
    bottleneck: BottleneckConfig = ResidualVQConfig()
    """How they become tokens; a harmonic trunk adds a codebook for what it measures."""

    @model_validator(mode="after")
    def _pitches_have_entries(self) -> RVQConfig:
        if isinstance(self.trunk, HarmonicTrunkConfig):
            try:
                pitches_per_level(self.bottleneck.vocab_size)
            except ValueError as error:
                raise ValueError(f"bottleneck: {error}; trunk.type=harmonic has one") from None
        return self


class RVQCodec(TokenCodec):
    """A trunk that is trained around its bottleneck; see `TokenCodec`.

    >>> codec = RVQCodec(RVQConfig(trunk={"encoder_dim": 16, "decoder_dim": 16}))
    >>> tokens = codec.encode(torch.zeros(1, 1, 22050))
    >>> tokens.dtype, codec.decode(tokens[:, :2]).shape
    (torch.int64, torch.Size([1, 1, 22528]))
    """

    config: RVQConfig

    def __init__(self, config: RVQConfig) -> None:
        super().__init__()
        self.config = config
        bottleneck, channels = config.bottleneck, config.latent_channels
        self.trunk = build_trunk(config, channels, channels)
        self.bottleneck = build_bottleneck(bottleneck, channels)
        self.pitch = PitchTokens(bottleneck.vocab_size) if self.trunk.measured else None
        num_codebooks = bottleneck.num_codebooks + (self.pitch is not None)
        self.spec = config.spec(num_codebooks, bottleneck.vocab_size)
        self.encode_context = self.trunk.encode_context
        self.decode_context = self.trunk.decode_context

    def residual_tokens(self, wav: Tensor) -> Tensor:
        """Tokens (B, K, L) of wav (B, C, L * hop_length), without those of a pitch."""
        return self.bottleneck.tokens(self.trunk.encode(wav))

    def from_residual(self, tokens: Tensor) -> Tensor:
        """Latents (B, D, L) of the first k of these tokens (B, k, L)."""
        return self.bottleneck.from_tokens(tokens)

    def forward(self, wav: Tensor) -> CodecOutput:
        """Decode quantised latents of wav (B, C, T), twice where the trunk is random."""
        quantised, _, losses = self.bottleneck(self.trunk.encode(wav))
        # The decoder learns from the pitch that it will be given.
        output = self.trunk.decode_twice(self.with_pitch(quantised, wav), wav)
        return replace(output, losses={**output.losses, **losses})
