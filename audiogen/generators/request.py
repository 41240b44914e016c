"""What is asked of a generator: which sounds, from which seeds, and where sampling starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self, TypeVar

import torch
from torch import Tensor

from audiogen.generators.sampling import SamplingConfig
from audiogen.types import Conditions

SamplingT = TypeVar("SamplingT", bound=SamplingConfig)


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


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be sampled.

    Attributes:
        conditions: of B items.
        lengths: latent frames of each item; L is the largest.
        sampling: of the generator's own kind.
        seeds: one per item.
        negative: what guidance leads away from; None is no prompt.
        start: where to start instead of from the seeds' noise.
        ring: whether the end of a sound leads into its beginning.

    Raises:
        ValueError: there is not one seed and one length of at least 1 per item, or a negative
            prompt without guidance.
    """

    conditions: Conditions
    lengths: Sequence[int]
    sampling: SamplingConfig
    seeds: Sequence[int]
    negative: Conditions | None = None
    start: Start = field(default_factory=Start)
    ring: bool = False

    def __post_init__(self) -> None:
        count, lengths = len(self.conditions), self.lengths
        if len(self.seeds) != count or len(lengths) != count:
            raise ValueError(
                f"sample: {count} items but {len(self.seeds)} seeds and {len(lengths)} lengths"
            )
        if min(lengths) < 1:
            raise ValueError(f"sample: num_frames must be at least 1, got {min(lengths)}")
        if self.negative is not None and self.sampling.guidance_scale == 1:
            raise ValueError(
                "sample: a negative prompt acts through guidance, which is off (guidance_scale=1)"
            )

    @property
    def device(self) -> torch.device:
        """Where the conditions are."""
        return self.conditions.text.device

    @property
    def real(self) -> Tensor:
        """Which frames are real, (B, L)."""
        lengths = torch.tensor(self.lengths, device=self.device)
        return torch.arange(max(self.lengths), device=self.device) < lengths[:, None]

    def finite(self, latents: Tensor) -> Tensor:
        """Return what was sampled; ValueError names the seeds of what is not finite."""
        fine = latents.flatten(1).isfinite().all(dim=1).tolist()
        broken = [str(seed) for seed, good in zip(self.seeds, fine, strict=True) if not good]
        if broken:
            raise ValueError(
                f"sample: what the model made of seeds {', '.join(broken)} is not finite\n"
                "  try another solver, more steps or a guidance_scale nearer to 1; if all seeds of"
                " it end so, its training has failed"
            )
        return latents

    def __getitem__(self, items: Sequence[int]) -> Self:
        """Return the same for some of the items, cut to the longest of them."""
        index = list(items)
        lengths = [self.lengths[item] for item in index]
        return replace(
            self,
            conditions=self.conditions[index],
            lengths=lengths,
            seeds=[self.seeds[item] for item in index],
            negative=None if self.negative is None else self.negative[index],
            start=self.start.of(index, max(lengths)),
        )


def of_kind(kind: type[SamplingT], sampling: SamplingConfig) -> SamplingT:
    """Return `sampling`; ValueError when it is not of the kind that a generator takes."""
    if not isinstance(sampling, kind):
        wanted = kind.model_fields["type"].default
        raise ValueError(
            f"sample: expected sampling of type {wanted}, got {type(sampling).__name__}"
        )
    return sampling
