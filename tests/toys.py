"""A codec and a generator as somebody might add them: a file each, and a line of a table each."""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from audiogen.codecs.base import CodecOutput
from audiogen.codecs.config import CodecConfig
from audiogen.codecs.continuous import ContinuousCodec
from audiogen.generators.base import LatentGenerator
from audiogen.generators.config import GeneratorConfig
from audiogen.generators.request import Request, of_kind
from audiogen.generators.sampling import SamplingConfig
from audiogen.seeds import noise_source
from audiogen.types import Batch, Kind, LatentSpec, LossOutput


class ToyCodecConfig(CodecConfig):
    """A matrix from the samples of a frame to a few numbers, and one back."""

    type: Literal["toy"] = "toy"
    width: int = Field(default=4, gt=0)
    """Numbers per frame."""


class ToyCodec(ContinuousCodec):
    """Frames that know nothing of each other."""

    encode_context = 0
    decode_context = 0

    def __init__(self, config: ToyCodecConfig) -> None:
        super().__init__(config, config.width)
        samples = config.audio_channels * config.hop_length
        self.down, self.up = nn.Linear(samples, config.width), nn.Linear(config.width, samples)

    def encode_chunk(self, wav: Tensor) -> Tensor:
        frames = wav.unflatten(-1, (-1, self.spec.hop_length)).transpose(1, 2).flatten(2)
        return self.scaled(self.down(frames).transpose(1, 2))

    def decode_chunk(self, latents: Tensor, noise: Tensor) -> Tensor:
        del noise
        frames = self.up(self.unscaled(latents).transpose(1, 2))
        return frames.unflatten(-1, (self.spec.audio_channels, -1)).transpose(1, 2).flatten(2)

    def forward(self, wav: Tensor) -> CodecOutput:
        found = self.decode_chunk(self.encode_chunk(wav), wav)
        return CodecOutput(reconstructions=[found], losses={})


class ToySampling(SamplingConfig):
    """How loud the noise is."""

    type: Literal["toy"] = "toy"
    amount: float = Field(default=1.0, ge=0)


class ToyGeneratorConfig(GeneratorConfig):
    """Normal latents whose mean is a matrix times the prompt."""

    type: Literal["toy"] = "toy"


class ToyGenerator(LatentGenerator):
    """Frames that are alike but for noise."""

    accepts: Kind = "continuous"
    sampling = ToySampling

    def __init__(
        self, config: ToyGeneratorConfig, spec: LatentSpec, text_dim: int, window_frames: int
    ) -> None:
        super().__init__(config, spec, text_dim, window_frames)
        self.mean = nn.Linear(text_dim, spec.channels)

    def forward(self, batch: Batch) -> LossOutput:
        error = (self.mean(batch.conditions.pooled)[..., None] - batch.latents).square().mean(dim=1)
        loss = (error * batch.mask).sum() / batch.mask.sum()
        metrics: Mapping[str, Tensor] = {}
        return LossOutput(loss=loss, metrics=metrics)

    def draw(self, request: Request) -> Tensor:
        noise = noise_source("start", request.seeds, self.spec.channels, request.lengths)()
        sampling = of_kind(ToySampling, request.sampling)
        latents = self.mean(request.conditions.pooled)[..., None] + sampling.amount * noise
        return torch.where(request.real[:, None], latents, 0)

    def network_evaluations(self, sampling: SamplingConfig, num_frames: int) -> int:
        of_kind(ToySampling, sampling)
        return 1
