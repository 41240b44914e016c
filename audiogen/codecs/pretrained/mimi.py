"""Mimi of transformers, pretrained."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

from pydantic import Field
from torch import Tensor

from audiogen.codecs.pretrained.base import PretrainedTokens, TokenSourceConfig
from audiogen.codecs.pretrained.library import Transformers
from audiogen.nn.convnet import contexts


class MimiConfig(TokenSourceConfig):
    """Mimi (Défossez et al. 2024, arXiv 2410.00037; weights CC BY 4.0), made for speech.

    8 codebooks are 1.1 kbit/s.
    """

    weights_licence: ClassVar[str] = "CC-BY-4.0"
    type: Literal["mimi"] = "mimi"
    source: str = "kyutai/mimi"
    revision: str | None = "89091b3e466eb6a9d11e537bf26b144f194978f7"
    sample_rate: int = Field(default=24000, ge=8000, le=192000)
    hop_length: int = Field(default=1920, gt=0)
    num_codebooks: int = Field(default=8, ge=1)


class Mimi(PretrainedTokens):
    """Encodes to residual codes of a causal network with Transformers that look back by windows."""

    # The rate of frames is no field, and may differ from that which the fields imply.
    library = Transformers(network="MimiModel", label="mimi", also=("frame_rate",))

    def __init__(self, config: MimiConfig) -> None:
        super().__init__(config)
        settings = self.network.config
        # Each layer of its Transformers looks back by a window of inner frames.
        window = settings.num_hidden_layers * settings.sliding_window
        window *= math.prod(settings.upsampling_ratios)
        hop_length = config.hop_length
        self.encode_context, self.decode_context = contexts(self.network, hop_length, window)

    @staticmethod
    def _facts(network: Any) -> dict[str, int]:
        config = network.config
        return {
            "sample_rate": config.sampling_rate,
            "audio_channels": config.audio_channels,
            "hop_length": math.prod(config.upsampling_ratios) * config.latent_stride,
        }

    @staticmethod
    def _keep_codebooks(network: Any, count: int) -> int:
        there, semantic = network.config.num_quantizers, network.config.num_semantic_quantizers
        if count < semantic:
            raise ValueError(
                f"codec.num_codebooks={count}, but this Mimi needs its first {semantic} together"
            )
        others = network.quantizer.acoustic_residual_vector_quantizer
        others.layers = others.layers[: count - semantic]
        return int(there)

    def encode_chunk(self, wav: Tensor) -> Tensor:
        """Encode wav (B, C, L * hop_length) as tokens (B, K, L)."""
        found = self.network.encode(wav, num_quantizers=self.spec.channels, use_streaming=False)
        codes: Tensor = found.audio_codes
        return codes

    def _sound(self, latents: Tensor) -> Tensor:
        wav: Tensor = self.network.decode(latents).audio_values
        return wav

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert; codebooks that were computed before it are forgotten."""
        for part in self.modules():
            if hasattr(part, "_embed"):
                part._embed = None  # type: ignore[assignment]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self
