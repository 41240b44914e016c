"""Oobleck of diffusers, pretrained."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from audiogen.codecs.continuous import ContinuousCodec
from audiogen.codecs.pretrained.base import PretrainedCodec, PretrainedConfig
from audiogen.codecs.pretrained.library import Diffusers
from audiogen.nn.convnet import contexts


class OobleckConfig(PretrainedConfig):
    """The VAE of Stable Audio Open (Evans et al. 2024, arXiv 2407.14358), stereo.

    Its weights are under the Stability AI Community Licence, which is accepted at their page.
    """

    weights_licence: ClassVar[str] = "LicenseRef-Stability-AI-Community"
    type: Literal["oobleck"] = "oobleck"
    source: str = "stabilityai/stable-audio-open-1.0/vae"
    revision: str | None = "f21265c1e2710b3bd2386596943f0007f55f802e"
    sample_rate: int = Field(default=44100, ge=8000, le=192000)
    audio_channels: Literal[1, 2] = 2
    hop_length: int = Field(default=2048, gt=0)


class Oobleck(PretrainedCodec, ContinuousCodec):
    """Encodes to the posterior mean of a convolutional VAE, scaled."""

    library = Diffusers(network="AutoencoderOobleck", label="AutoencoderOobleck")

    def __init__(self, config: OobleckConfig) -> None:
        network, config = self._opened(config)
        super().__init__(config, network.config["decoder_input_channels"])
        self._adopt(network, config)
        self.encode_context, self.decode_context = contexts(network, config.hop_length)

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

    def _sound(self, latents: Tensor) -> Tensor:
        wav: Tensor = self.network.decode(self.unscaled(latents)).sample
        return wav
