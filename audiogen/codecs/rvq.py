"""A codec of tokens: a trunk around residual quantisation (SoundStream, EnCodec, DAC)."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from audiogen.codecs.base import Codec, CodecOutput
from audiogen.codecs.bottlenecks.pitch_tokens import PitchTokens, pitches_per_level
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


class RVQCodec(Codec):
    """Encodes to tokens (B, K, L); the first k codebooks alone decode to a coarser sound.

    Where the trunk measures a pitch, the second codebook is that of pitch and periodicity: the
    first residual one alone is a whisper of the sound, and a pitch alone would be no sound at all.

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
        bottleneck, channels = config.bottleneck, config.latent_channels
        self.trunk = build_trunk(config, channels, channels)
        self.bottleneck = build_bottleneck(bottleneck, channels)
        self.pitch = PitchTokens(bottleneck.vocab_size) if self.trunk.measured else None
        num_codebooks = bottleneck.num_codebooks + (self.pitch is not None)
        self.spec = config.spec(num_codebooks, bottleneck.vocab_size)
        self.encode_context = self.trunk.encode_context
        self.decode_context = self.trunk.decode_context

    def encode_chunk(self, wav: Tensor) -> Tensor:
        """Encode wav (B, C, L * hop_length) as tokens (B, K, L)."""
        tokens = self.bottleneck.tokens(self.trunk.encode(wav))
        if self.pitch is None:
            return tokens
        told = self.pitch.tokens(self.trunk.measure(wav))
        return torch.cat([tokens[:, :1], told, tokens[:, 1:]], dim=1)

    @property
    def tells_pitch(self) -> bool:
        """Whether there is a codebook of pitches."""
        return self.pitch is not None

    def transposed(self, latents: Tensor, octaves: float) -> Tensor:
        """Tokens (B, K, L) of the same sound at another pitch; see `Codec.transposed`."""
        if self.pitch is None:
            return super().transposed(latents, octaves)
        if latents.shape[1] < 2:  # the first codebook alone says none
            return latents
        moved = self.trunk.transposed(self.pitch.measured(latents[:, 1:2]), octaves)
        return torch.cat([latents[:, :1], self.pitch.tokens(moved), latents[:, 2:]], dim=1)

    def unrolled(self, latents: Tensor, *, ring: bool) -> Tensor:
        """Residual tokens (B, k, L), and behind them what the trunk makes of a pitch.

        They are one tensor of float64, which holds tokens exactly: of a long sound they take a
        fraction of the memory of latents, which are made chunk by chunk.
        """
        if self.pitch is None:
            return latents
        if latents.shape[1] > 1:
            measured = self.pitch.measured(latents[:, 1:2])
        else:  # the first codebook alone: no pitch, and nothing periodic
            measured = torch.zeros(len(latents), 2, latents.shape[2], device=latents.device)
        carried = self.trunk.unrolled(measured, ring=ring)
        parts = (latents[:, :1], latents[:, 2:], carried)
        return torch.cat([part.double() for part in parts], dim=1)

    def decode_chunk(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Decode what `unrolled` gives to wav (B, C, L * hop_length)."""
        count = latents.shape[1] - self.trunk.carried
        quantised = self.bottleneck.from_tokens(latents[:, :count].long())
        told = torch.cat([quantised, latents[:, count:].float()], dim=1)
        return self.trunk.decode(told, [noise])[0]

    def forward(self, wav: Tensor) -> CodecOutput:
        """Decode quantised latents of wav (B, C, T), twice where the trunk is random."""
        quantised, _, losses = self.bottleneck(self.trunk.encode(wav))
        if self.pitch is not None:  # the decoder learns from what it will be given
            told = self.pitch.measured(self.pitch.tokens(self.trunk.measure(wav)))
            quantised = torch.cat([quantised, told], dim=1)
        output = self.trunk.decode_twice(quantised, wav)
        return replace(output, losses={**output.losses, **losses})
