"""Descript Audio Codec of transformers, pretrained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from audiogen.codecs.pretrained.base import PretrainedTokens, TokenSourceConfig, filled_up, reach
from audiogen.codecs.pretrained.library import Transformers


class DACConfig(TokenSourceConfig):
    """DAC (Kumar et al. 2023, arXiv 2306.06546; weights MIT); 9 codebooks are 7.8 kbit/s."""

    weights_licence: ClassVar[str] = "MIT"
    pinned: ClassVar[Mapping[str, str]] = {
        "descript/dac_44khz": "c1bc521685adf9cfe247bc39a5ca58917eda1ac4"
    }
    type: Literal["dac"] = "dac"
    source: str = "descript/dac_44khz"
    sample_rate: int = Field(default=44100, ge=8000, le=192000)
    hop_length: int = Field(default=512, gt=0)
    num_codebooks: int = Field(default=9, ge=1)


class DAC(PretrainedTokens):
    """Encodes to residual codes of a convolutional network; mono."""

    library = Transformers(network="DacModel", model_type="dac")

    def __init__(self, config: DACConfig) -> None:
        super().__init__(config)
        hop = config.hop_length
        self.encode_context = math.ceil(reach(self.network.encoder, 1) / hop)
        self.decode_context = math.ceil(reach(self.network.decoder, hop) / hop)

    @staticmethod
    def _facts(network: Any) -> dict[str, int]:
        config = network.config
        return {
            "sample_rate": config.sampling_rate,
            "audio_channels": 1,
            "hop_length": math.prod(config.downsampling_ratios),
        }

    @staticmethod
    def _count_codebooks(network: Any) -> int:
        return len(network.quantizer.quantizers)

    @staticmethod
    def _keep_codebooks(network: Any, count: int) -> None:
        network.quantizer.quantizers = network.quantizer.quantizers[:count]
        network.quantizer.n_codebooks = count

    def encode_chunk(self, wav: Tensor) -> Tensor:
        """Encode wav (B, 1, L * hop_length) as tokens (B, K, L)."""
        codes: Tensor = self.network.encode(wav).audio_codes
        return codes

    def decode_chunk(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Decode tokens (B, k, L) to wav (B, 1, L * hop_length)."""
        del noise
        wav: Tensor = self.network.decode(audio_codes=latents).audio_values[:, None]
        return filled_up(wav, latents.shape[2] * self.spec.hop_length)
