"""The nouns that cross layers: what a codec produces, what a generator is given and returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["continuous", "tokens"]

# Streams of seeds: an item's seed plus one of these draws noise apart from that of the seed itself.
NOISE_STREAM = 1 << 40
"""Noise that a codec's decoder starts from."""
FRESH_NOISE = 1 << 41
"""Noise that stochastic samplers add, apart from that of the start."""
LIKELIHOOD_STREAM = 1 << 42
"""Noise and random signs of the likelihood's estimate."""
PATH_SEEDS = 1 << 43
"""Seeds of the paths that distillation learns from: takes have other ones."""
VARIATION_STREAM = 1 << 44
"""Noise of variations: no take has it, so that a variation is never mixed with its own noise."""


@dataclass(frozen=True, kw_only=True)
class LatentSpec:
    """What a codec produces and a generator models.

    Attributes:
        kind: continuous latents (B, D, L) or tokens (B, K, L).
        channels: D latent channels, or K codebooks.
        vocab_size: V entries per codebook; None when continuous.
        hop_length: samples per latent frame.
        sample_rate: Hz.
        audio_channels: C, 1 is mono and 2 is stereo.
    """

    kind: Kind
    channels: int
    vocab_size: int | None
    hop_length: int
    sample_rate: int
    audio_channels: int

    @property
    def frame_rate(self) -> float:
        """Latent frames per second."""
        return self.sample_rate / self.hop_length

    def bits_per_second(self, num_codebooks: int | None = None) -> float:
        """What the tokens of a second cost at log2 V bits each, of the first codebooks or of all.

        Raises:
            ValueError: the latents are continuous.
        """
        if self.vocab_size is None:
            raise ValueError("bits_per_second: continuous latents are no tokens")
        count = self.channels if num_codebooks is None else num_codebooks
        return self.frame_rate * count * math.log2(self.vocab_size)

    def num_samples(self, seconds: float) -> int:
        """Audio samples in `seconds`."""
        return round(seconds * self.sample_rate)

    def num_frames(self, seconds: float) -> int:
        """Latent frames that cover `seconds`; at least one."""
        return max(1, math.ceil(self.num_samples(seconds) / self.hop_length))


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Model-ready inputs of a batch; B items, N text tokens, E text dimensions.

    Attributes:
        text: token states (B, N, E).
        text_mask: (B, N), True where a token is real; all False means "no prompt".
        pooled: one vector per prompt (B, E).
        controls: numbers by name, each (B,); NaN means "not given".
    """

    text: Tensor
    text_mask: Tensor
    pooled: Tensor
    controls: Mapping[str, Tensor]

    def __len__(self) -> int:
        return self.text.shape[0]

    def to(self, device: torch.device) -> Conditions:
        """Return the same conditions on `device`."""
        return Conditions(
            text=self.text.to(device),
            text_mask=self.text_mask.to(device),
            pooled=self.pooled.to(device),
            controls={name: value.to(device) for name, value in self.controls.items()},
        )

    def __getitem__(self, items: slice | list[int]) -> Conditions:
        """Return the conditions of some of the items."""
        return Conditions(
            text=self.text[items],
            text_mask=self.text_mask[items],
            pooled=self.pooled[items],
            controls={name: value[items] for name, value in self.controls.items()},
        )

    def unconditional(self) -> Conditions:
        """Return conditions of the same shape in which nothing is given."""
        return Conditions(
            text=torch.zeros_like(self.text),
            text_mask=torch.zeros_like(self.text_mask),
            pooled=torch.zeros_like(self.pooled),
            controls={k: torch.full_like(v, math.nan) for k, v in self.controls.items()},
        )

    def without_prompt(self) -> Conditions:
        """Return conditions with the prompt left out and the controls kept."""
        return replace(self.unconditional(), controls=self.controls)


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a network sees of the conditions: sequence (B, N, M), mask (B, N), vector (B, M)."""

    sequence: Tensor
    mask: Tensor
    vector: Tensor

    def __getitem__(self, items: Tensor) -> Context:
        """Return the contexts of some items (R,), in that order."""
        return Context(
            sequence=self.sequence[items], mask=self.mask[items], vector=self.vector[items]
        )


@dataclass(frozen=True, kw_only=True)
class PathPoint:
    """Where on the way from noise to a batch's latents a model is trained.

    Attributes:
        noisy: (B, D, L).
        t: time of each item (B,), in the generator's own units.
        known: latents (B, D, L) that are given where `keep`; None when nothing is.
        keep: (B, L), True where a frame is given and not to be learnt.
    """

    noisy: Tensor
    t: Tensor
    known: Tensor | None = None
    keep: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Training input of B items.

    Attributes:
        latents: (B, D, L), or tokens (B, K, L).
        mask: (B, L), True where a frame is real.
        conditions: of the items.
        point: on a teacher's path that ends in `latents`; None draws noise at random.
    """

    latents: Tensor
    mask: Tensor
    conditions: Conditions
    point: PathPoint | None = None

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on `device`."""
        return Batch(
            latents=self.latents.to(device),
            mask=self.mask.to(device),
            conditions=self.conditions.to(device),
            point=_of_tensors(self.point, lambda tensor: tensor.to(device)),
        )

    def split(self, parts: int) -> list[Batch]:
        """Return `parts` batches of equal size; ValueError when the items do not divide."""
        batch = self.latents.shape[0]
        if batch % parts:
            raise ValueError(f"a batch of {batch} items does not split into {parts} equal parts")
        return self.pieces(batch // parts)

    def pieces(self, size: int) -> list[Batch]:
        """Return batches of `size` items each, the last one of what is left."""
        starts = range(0, self.latents.shape[0], size)
        return [self._part(slice(start, start + size)) for start in starts]

    def _part(self, items: slice) -> Batch:
        return Batch(
            latents=self.latents[items],
            mask=self.mask[items],
            conditions=self.conditions[items],
            point=_of_tensors(self.point, lambda tensor: tensor[items]),
        )


def _of_tensors(point: PathPoint | None, change: Callable[[Tensor], Tensor]) -> PathPoint | None:
    """Apply `change` to each tensor of a point."""
    if point is None:
        return None
    return PathPoint(
        noisy=change(point.noisy),
        t=change(point.t),
        known=None if point.known is None else change(point.known),
        keep=None if point.keep is None else change(point.keep),
    )


@dataclass(frozen=True, kw_only=True)
class LossOutput:
    """A scalar loss () to minimise and scalar metrics {name: ()} to log."""

    loss: Tensor
    metrics: Mapping[str, Tensor]
