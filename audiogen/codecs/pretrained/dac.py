"""Descript Audio Codec of transformers, pretrained."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from audiogen.codecs.pretrained.base import PretrainedTokens, TokenSourceConfig
from audiogen.codecs.pretrained.library import Transformers
from audiogen.nn.convnet import contexts


class DACConfig(TokenSourceConfig):
    """DAC (Kumar et al. 2023, arXiv 2306.06546; weights MIT); 9 codebooks are 7.8 kbit/s."""

    weights_licence: ClassVar[str] = "MIT"
    type: Literal["dac"] = "dac"
    source: str = "descript/dac_44khz"
    revision: str | None = "c1bc521685adf9cfe247bc39a5ca58917eda1ac4"
    sample_rate: int = Field(default=44100, ge=8000, le=192000)
    hop_length: int = Field(default=512, gt=0)
    num_codebooks: int = Field(default=9, ge=1)


class DAC(PretrainedTokens):
    """Encodes to residual codes of a convolutional network; mono."""

    library = Transformers(network="DacModel", label="dac")

    def __init__(self, config: DACConfig) -> None:
        super().__init__(config)
        self.encode_context, self.decode_context = contexts(self.network, config.hop_length)

    @staticmethod
    def _facts(network: Any) -> dict[str, int]:
        config = network.config
        return {
            "sample_rate": config.sampling_rate,
            "audio_channels": 1,
            "hop_length": math.prod(config.downsampling_ratios),
        }

    @staticmethod
    def _keep_codebooks(network: Any, count: int) -> int:
        quantizer = network.quantizer
        there = len(quantizer.quantizers)
        quantizer.quantizers, quantizer.n_codebooks = quantizer.quantizers[:count], count
        return there

    def encode_chunk(self, wav: Tensor) -> Tensor:
        """Encode wav (B, 1, L * hop_length) as tokens (B, K, L)."""
        codes: Tensor = self.network.encode(wav).audio_codes
        return codes

    def _sound(self, latents: Tensor) -> Tensor:
        wav: Tensor = self.network.decode(audio_codes=latents).audio_values
        return wav[:, None]
