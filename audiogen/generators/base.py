"""What every generator is: an objective over latents, and a sampler of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from audiogen.conditioning.conditioner import ConditionerConfig
from audiogen.conditioning.controls import ControlName, Range
from audiogen.generators.sampling import SamplingConfig
from audiogen.schema import Config
from audiogen.types import Batch, Conditions, Kind, LossOutput


class GeneratorConfig(Config):
    """What the configuration of every generator says."""

    type: str
    conditioner: ConditionerConfig = ConditionerConfig()

    def with_ranges(self, ranges: Mapping[ControlName, Range]) -> Self:
        """Return the same with ranges for the controls that have none."""
        filled = self.conditioner.with_ranges(ranges)
        return self.model_copy(update={"conditioner": filled})


class NetworkConfig(GeneratorConfig):
    """The size of a generator's Transformer."""

    dim: int = Field(default=384, gt=0)
    depth: int = Field(default=8, gt=0)
    num_heads: int = Field(default=6, gt=0)

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.dim % self.num_heads or self.dim // self.num_heads % 2:
            raise ValueError(
                f"dim={self.dim} must be a multiple of twice num_heads={self.num_heads}"
            )
        return self


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
    sampling: ClassVar[type[SamplingConfig]]
    """The settings that `sample` takes."""
    has_paths: ClassVar[bool] = False
    """Whether sampling follows a path from noise to latents, of which few steps can be learnt."""
    ends_sounds: ClassVar[bool] = False
    """Whether `sample_to_end` makes sounds that end where the model ends them."""

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
            sampling: of the generator's own kind.
            seeds: one per item; an item's result depends on its own seed and conditions alone.
            negative: what guidance leads away from; None is no prompt.
            start: where to start instead of from the seeds' noise.
            ring: make sounds whose end leads into their beginning.

        Returns:
            (B, D, L) or (B, K, L); zeros behind the end of a shorter item.
        """

    def sample_to_end(
        self,
        conditions: Conditions,
        max_frames: int,
        *,
        sampling: SamplingConfig,
        seeds: Sequence[int],
        negative: Conditions | None = None,
    ) -> list[Tensor]:
        """Sample sounds that end where the model ends them.

        Args:
            conditions: of B items; the role should be "whole", whose ends are learnt, and
                `seconds` left out (NaN), which would tell the end.
            max_frames: a sound that has not ended by then is cut.
            sampling: of the generator's own kind.
            seeds: one per item.
            negative: what guidance leads away from; None is no prompt.

        Returns:
            Tokens of each item (K, L), L from 1 to `max_frames`.

        Raises:
            ValueError: the generator does not end its sounds (see `ends_sounds`).
        """
        raise ValueError(f"sample_to_end: {type(self).__name__} is told how long a sound is")

    @abstractmethod
    def network_evaluations(self, sampling: SamplingConfig, num_frames: int) -> int:
        """Evaluations of the network for one take; one of a doubled batch counts once."""


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


def check_finite(latents: Tensor, seeds: Sequence[int]) -> None:
    """Raise ValueError when any of B sampled latents are not finite, and name their seeds."""
    finite = latents.flatten(1).isfinite().all(dim=1).tolist()
    broken = [str(seed) for seed, fine in zip(seeds, finite, strict=True) if not fine]
    if broken:
        raise ValueError(
            f"sample: what the model made of seeds {', '.join(broken)} is not finite\n"
            "  try another solver, more steps or a guidance_scale nearer to 1; if all seeds of it"
            " end so, its training has failed"
        )
