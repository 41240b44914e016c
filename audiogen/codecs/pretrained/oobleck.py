"""Oobleck of diffusers, pretrained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from audiogen.codecs.continuous import ContinuousCodec
from audiogen.codecs.pretrained.base import PretrainedCodec, PretrainedConfig, filled_up, reach
from audiogen.codecs.pretrained.library import Diffusers


class OobleckConfig(PretrainedConfig):
    """The VAE of Stable Audio Open (Evans et al. 2024, arXiv 2407.14358), stereo.

    Its weights are under the Stability AI Community Licence, which is accepted at their page.
    """

    weights_licence: ClassVar[str] = "LicenseRef-Stability-AI-Community"
    pinned: ClassVar[Mapping[str, str]] = {
        "stabilityai/stable-audio-open-1.0/vae": "f21265c1e2710b3bd2386596943f0007f55f802e"
    }
    type: Literal["oobleck"] = "oobleck"
    source: str = "stabilityai/stable-audio-open-1.0/vae"
    sample_rate: int = Field(default=44100, ge=8000, le=192000)
    audio_channels: Literal[1, 2] = 2
    hop_length: int = Field(default=2048, gt=0)


class Oobleck(PretrainedCodec, ContinuousCodec):
    """Encodes to the posterior mean of a convolutional VAE, scaled."""

    library = Diffusers(network="AutoencoderOobleck")

    def __init__(self, config: OobleckConfig) -> None:
        network, config = self._opened(config)
        super().__init__(config, network.config["decoder_input_channels"])
        self._adopt(network, config)
        hop = config.hop_length
        self.encode_context = math.ceil(reach(network.encoder, 1) / hop)
        self.decode_context = math.ceil(reach(network.decoder, hop) / hop)

    @staticmethod
    def _facts(network: Any) -> dict[str, int]:
        settings = network.config
        return {
            "sample_rate": settings["sampling_rate"],
            "audio_channels": settings["audio_channels"],
            "hop_length": math.prod(settings["downsampling_ratios"]),
        }

    def encode_chunk(self, wav: Tensor) -> Tensor:
        """Encode wav (B, C, L * hop_length) as scaled posterior means (B, D, L)."""
        return self.scaled(self.network.encode(wav).latent_dist.mode())

    def decode_chunk(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Decode scaled latents (B, D, L) to wav (B, C, L * hop_length)."""
        del noise
        wav: Tensor = self.network.decode(self.unscaled(latents)).sample
        return filled_up(wav, latents.shape[2] * self.spec.hop_length)
