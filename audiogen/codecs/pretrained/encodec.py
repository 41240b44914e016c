"""EnCodec of transformers, pretrained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from audiogen.codecs.pretrained.base import PretrainedTokens, TokenSourceConfig
from audiogen.codecs.pretrained.library import Transformers


class EnCodecConfig(TokenSourceConfig):
    """EnCodec (Défossez et al. 2022, arXiv 2210.13438); 8 codebooks are 6 kbit/s."""

    pinned: ClassVar[Mapping[str, str]] = {
        "facebook/encodec_24khz": "c1dbe2ae3f1de713481a3b3e7c47f357092ee040"
    }
    type: Literal["encodec"] = "encodec"
    source: str = "facebook/encodec_24khz"
    sample_rate: int = Field(default=24000, ge=8000, le=192000)
    hop_length: int = Field(default=320, gt=0)
    num_codebooks: int = Field(default=8, ge=1)


class EnCodec(PretrainedTokens):
    """Encodes to residual codes of a convolutional network with LSTMs.

    An LSTM remembers all that came before, so that audio is coded at once, however long it is.
    """

    library = Transformers(network="EncodecModel", model_type="encodec")
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
    def _count_codebooks(network: Any) -> int:
        return len(network.quantizer.layers)

    @staticmethod
    def _keep_codebooks(network: Any, count: int) -> None:
        network.quantizer.layers = network.quantizer.layers[:count]
        network.quantizer.num_quantizers = count

    def encode_chunk(self, wav: Tensor) -> Tensor:
        """Encode wav (B, C, L * hop_length) as tokens (B, K, L)."""
        # Its own `encode` takes a bandwidth, and so only some numbers of codebooks.
        codes: Tensor = self.network.quantizer.encode(self.network.encoder(wav))
        return codes.transpose(0, 1)

    def decode_chunk(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Decode tokens (B, k, L) to wav (B, C, L * hop_length)."""
        del noise
        wav: Tensor = self.network.decoder(self.network.quantizer.decode(latents.transpose(0, 1)))
        return wav
