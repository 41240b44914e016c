"""EnCodec of transformers, pretrained."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from audiogen.codecs.pretrained.base import PretrainedTokens, TokenSourceConfig
from audiogen.codecs.pretrained.library import Transformers


class EnCodecConfig(TokenSourceConfig):
    """EnCodec (Défossez et al. 2022, arXiv 2210.13438); 8 codebooks are 6 kbit/s."""

    type: Literal["encodec"] = "encodec"
    source: str = "facebook/encodec_24khz"
    revision: str | None = "c1dbe2ae3f1de713481a3b3e7c47f357092ee040"
    sample_rate: int = Field(default=24000, ge=8000, le=192000)
    hop_length: int = Field(default=320, gt=0)
    num_codebooks: int = Field(default=8, ge=1)


class EnCodec(PretrainedTokens):
    """Encodes to residual codes of a convolutional network with LSTMs.

    An LSTM remembers all that came before, so that audio is coded at once, however long it is.
    """

    library = Transformers(network="EncodecModel", label="encodec")
    encode_context = None
    decode_context = None

    @staticmethod
    def _facts(network: Any) -> dict[str, int]:
        config = network.config
        if config.normalize or config.chunk_length_s is not None:
            raise ValueError(
                "codec.source: this EnCodec scales chunks of audio by their loudness, which tokens"
                " do not tell\n  take one that does not, such as facebook/encodec_24khz"
            )
        return {
            "sample_rate": config.sampling_rate,
            "audio_channels": config.audio_channels,
            "hop_length": math.prod(config.upsampling_ratios),
        }

    @staticmethod
    def _keep_codebooks(network: Any, count: int) -> int:
        quantizer = network.quantizer
        there = len(quantizer.layers)
        quantizer.layers, quantizer.num_quantizers = quantizer.layers[:count], count
        return there

    def encode_chunk(self, wav: Tensor) -> Tensor:
        """Encode wav (B, C, L * hop_length) as tokens (B, K, L)."""
        # Its own `encode` takes a bandwidth, and so only some numbers of codebooks.
        codes: Tensor = self.network.quantizer.encode(self.network.encoder(wav))
        return codes.transpose(0, 1)

    def _sound(self, latents: Tensor) -> Tensor:
        wav: Tensor = self.network.decoder(self.network.quantizer.decode(latents.transpose(0, 1)))
        return wav
