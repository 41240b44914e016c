"""What every generator is: an objective over latents, and a sampler of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from audiogen.schema import Config
from audiogen.types import Batch, Conditions, Kind, LossOutput

SolverName = Literal["euler", "midpoint", "heun", "rk4", "dpmpp_2m", "pingpong"]


class SamplingConfig(Config):
    """How takes are sampled; shared by the generators that solve an ODE."""

    steps: int = Field(default=16, ge=1, le=1000)
    """Steps of the solver; midpoint and heun evaluate the network twice in each, rk4 four times."""
    solver: SolverName = "dpmpp_2m"
    """pingpong is stochastic, for few-step models; the others solve the ODE."""
    guidance_scale: float = Field(default=3.0, ge=0, le=30)
    """s in uncond + s (cond - uncond); 1 is off."""
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    """Part of the noise levels, from 0 (data) to 1 (noise), in which guidance acts."""
    guidance_rescale: float = Field(default=0.0, ge=0, le=1)
    """How far the standard deviation of the unguided prediction is restored; 0 is off."""
    guidance_parallel: float = Field(default=1.0, ge=0, le=1)
    """Weight of guidance along the prediction itself; 0 leaves what is orthogonal (APG)."""
    guidance_norm: float | None = Field(default=None, gt=0)
    """Longest guidance direction, as a root mean square over the latents; None is no limit."""
    guidance_momentum: float = Field(default=0.0, gt=-1, lt=1)
    """Weight of the last evaluation's guidance direction; APG takes about -0.5; 0 is off."""

    @model_validator(mode="after")
    def _interval_is_ordered(self) -> SamplingConfig:
        low, high = self.guidance_interval
        if not 0 <= low <= high <= 1:
            raise ValueError(f"guidance_interval must be 0 <= low <= high <= 1, got {low}, {high}")
        return self

    @property
    def network_evaluations(self) -> int:
        """Evaluations of the network; a guided one, of a doubled batch, counts once."""
        match self.solver:
            case "heun":
                return 2 * self.steps - 1
            case "midpoint":
                return 2 * self.steps
            case "rk4":
                return 4 * self.steps - 2
        return self.steps


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where sampling starts when it is not the noise of the seeds alone; for editing.

    Attributes:
        noise: standard normal (B, D, L) in place of the seeds' noise.
        latents: a given sound (B, D, L).
        level: how much noise `latents` are covered with, from 0 (none) to 1 (nothing but noise,
            so that only kept frames matter).
        keep: (B, L), True where `latents` stay and the rest is made to fit them.
    """

    noise: Tensor | None = None
    latents: Tensor | None = None
    level: float = 1.0
    keep: Tensor | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.level <= 1:
            raise ValueError(f"Start: level must be 0 to 1, got {self.level}")
        if self.latents is None and (self.keep is not None or self.level < 1):
            raise ValueError("Start: `keep` and a `level` below 1 need `latents`")

    def of(self, items: Sequence[int], num_frames: int) -> Start:
        """Return the start of some of the items, cut to `num_frames`."""
        index = list(items)
        return replace(
            self,
            noise=None if self.noise is None else self.noise[index, :, :num_frames],
            latents=None if self.latents is None else self.latents[index, :, :num_frames],
            keep=None if self.keep is None else self.keep[index, :num_frames],
        )


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
        num_frames: int | Sequence[int],
        *,
        sampling: SamplingConfig,
        seeds: Sequence[int],
        negative: Conditions | None = None,
        start: Start | None = None,
        ring: bool = False,
    ) -> Tensor:
        """Sample latents (B, D, L) or tokens (B, K, L).

        Args:
            conditions: of B items.
            num_frames: of all items, or of each; L is the largest.
            sampling: solver and guidance.
            seeds: one per item; an item's result depends on its own seed and conditions alone.
            negative: what guidance leads away from; None is no prompt.
            start: where to start instead of from the seeds' noise.
            ring: make sounds whose end leads into their beginning.

        Returns:
            (B, D, L) or (B, K, L); zeros behind the end of a shorter item.
        """


def noise_source(
    seeds: Sequence[int], channels: int, lengths: Sequence[int]
) -> Callable[[], Tensor]:
    """Make a source of standard normal noise (B, channels, L), new at each call.

    Item b depends on seed b and its own length alone, on any device; behind its end are zeros.

    Args:
        seeds: one per item.
        channels: D.
        lengths: frames of each item; L is the largest.
    """
    sources = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw() -> Tensor:
        noise = torch.zeros(len(sources), channels, max(lengths))
        for row, source, length in zip(noise, sources, lengths, strict=True):
            row[:, :length] = torch.randn(channels, length, generator=source)
        return noise

    return draw
