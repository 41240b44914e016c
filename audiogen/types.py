"""The nouns that cross layers: what a codec produces, what a generator is given and returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from audiogen.items import Items

Kind = Literal["continuous", "tokens"]


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
class Conditions(Items):
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

    def without_prompt(self) -> Conditions:
        """Return conditions with the prompt left out and the controls kept."""
        text, mask, pooled = self.text, self.text_mask, self.pooled
        zeros = [torch.zeros_like(tensor) for tensor in (text, mask, pooled)]
        return replace(self, text=zeros[0], text_mask=zeros[1], pooled=zeros[2])


@dataclass(frozen=True, kw_only=True)
class Context(Items):
    """What a network sees of the conditions: sequence (B, N, M), mask (B, N), vector (B, M)."""

    sequence: Tensor
    mask: Tensor
    vector: Tensor


@dataclass(frozen=True, kw_only=True)
class PathPoint(Items):
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
class Batch(Items):
    """Training input of B items.

    Attributes:
        latents: (B, D, L), or tokens (B, K, L).
        mask: (B, L), True where a frame is real.
        conditions: of the items.
        point: on a teacher's path that ends in `latents`; None draws noise at random.
        is_full: whether it is known that all frames are real; attention is faster without a mask.
    """

    latents: Tensor
    mask: Tensor
    conditions: Conditions
    point: PathPoint | None = None
    is_full: bool = False

    @property
    def padding(self) -> Tensor | None:
        """The mask, where it is needed."""
        return None if self.is_full else self.mask

    def split(self, parts: int) -> list[Batch]:
        """Return `parts` batches of equal size; ValueError when the items do not divide."""
        batch = self.latents.shape[0]
        if batch % parts:
            raise ValueError(f"a batch of {batch} items does not split into {parts} equal parts")
        return self.pieces(batch // parts)

    def pieces(self, size: int) -> list[Batch]:
        """Return batches of `size` items each, the last one of what is left."""
        return [self[start : start + size] for start in range(0, self.latents.shape[0], size)]


@dataclass(frozen=True, kw_only=True)
class LossOutput:
    """A loss () to minimise, and metrics {name: ()} to log, NaN where the batch tells nothing."""

    loss: Tensor
    metrics: Mapping[str, Tensor]
