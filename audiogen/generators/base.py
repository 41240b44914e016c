"""What every generator is: an objective over latents, and a sampler of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from audiogen.schema import Config
from audiogen.types import Batch, Conditions, Kind, LossOutput


class SamplingConfig(Config):
    """How takes are sampled; shared by the generators that solve an ODE."""

    steps: int = Field(default=16, ge=1, le=1000)
    """Steps of the solver; heun evaluates the network twice in each."""
    solver: Literal["euler", "heun", "dpmpp_2m"] = "dpmpp_2m"
    guidance_scale: float = Field(default=3.0, ge=0, le=30)
    """s in uncond + s (cond - uncond); 1 is off."""
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    """Part of the noise levels, from 0 (data) to 1 (noise), in which guidance acts."""

    @model_validator(mode="after")
    def _interval_is_ordered(self) -> SamplingConfig:
        low, high = self.guidance_interval
        if not 0 <= low <= high <= 1:
            raise ValueError(f"guidance_interval must be 0 <= low <= high <= 1, got {low}, {high}")
        return self

    @property
    def network_evaluations(self) -> int:
        """Evaluations of the network; a guided one, of a doubled batch, counts once."""
        return 2 * self.steps - 1 if self.solver == "heun" else self.steps


class LatentGenerator(nn.Module, ABC):
    """A model of latents given conditions."""

    accepts: ClassVar[Kind]

    @abstractmethod
    def forward(self, batch: Batch) -> LossOutput:
        """The objective; it is `forward` so that DDP, FSDP and compile see it."""

    @abstractmethod
    def sample(
        self,
        conditions: Conditions,
        num_frames: int,
        *,
        sampling: SamplingConfig,
        seeds: Sequence[int],
    ) -> Tensor:
        """Sample latents (B, D, num_frames) or tokens (B, K, num_frames).

        Args:
            conditions: of B items.
            num_frames: L.
            sampling: solver and guidance.
            seeds: one per item; an item's result depends on its own seed and conditions alone.
        """


def seeded_noise(seeds: Sequence[int], shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Standard normal noise (B, *shape); item b depends on seed b alone, on any device."""
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(noise).to(device)
