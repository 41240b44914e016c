"""What is asked of a model: prompt, seed, length and settings of one take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import Field, model_validator
from torch import Tensor

from audiogen.audio.io.decoding import SAMPLE_RATES_HZ
from audiogen.generators import AnySampling
from audiogen.limits import MAX_SEED, MAX_SEMITONES
from audiogen.schema import Config
from audiogen.seeds import noise_source
from audiogen.types import LatentSpec

Seed = Annotated[int, Field(strict=True, ge=0, le=MAX_SEED)]


class Tempo(Config):
    """Length of a loop in music: `bars` of `beats_per_bar` beats, `bpm` of them per minute.

    >>> Tempo(bpm=120, bars=2).seconds
    4.0
    """

    bpm: float = Field(ge=1, le=999)
    bars: int = Field(ge=1, le=10_000)
    beats_per_bar: int = Field(default=4, ge=1, le=64)

    @property
    def beats(self) -> int:
        """Beats of one turn."""
        return self.bars * self.beats_per_bar

    @property
    def seconds(self) -> float:
        """Length of the loop."""
        return self.beats * 60 / self.bpm


class Variation(Config):
    """That a take is like another one of the same settings: whose seed, and how far from it."""

    from_seed: Seed
    amount: float
    """0 is the other take itself, 1 a new sound."""


class TakeRequest(Config):
    """One take, as it is asked of a model.

    >>> TakeRequest(prompt="light rain", seconds=5, seed=7).loop
    False
    """

    prompt: str
    """What it should sound like; an empty text leaves that to the model."""
    seconds: float
    """Its length; with `to_end` the most it may have."""
    seed: Seed
    """Of its noise: the sound depends on the request alone, not on what is made with it."""
    sampling: AnySampling | None = None
    """Settings of the model's own kind; None takes those of the model."""
    negative_prompt: str = ""
    """What guidance leads away from."""
    controls: dict[str, Annotated[float, Field(strict=True)] | str] = Field(default_factory=dict)
    """How it should sound, of the controls that the model knows; in their own units."""
    loop: bool = False
    """Whether it is a seamless loop."""
    tempo: Tempo | None = None
    """Of a loop whose length is counted in bars."""
    to_end: bool = False
    """Whether it ends where the model ends it."""
    variation: Variation | None = None
    """Of which take it is a variation."""
    transpose: float = Field(default=0.0, ge=-MAX_SEMITONES, le=MAX_SEMITONES)
    """Semitones by which its pitch is moved once it is made, of codecs that tell one."""
    rate: int | None = Field(default=None, ge=SAMPLE_RATES_HZ[0], le=SAMPLE_RATES_HZ[1])
    """Hz, to which the model's samples are brought at the end; None leaves them."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.tempo is not None and not self.loop:
            raise ValueError("a tempo is for loops")
        if self.to_end and self.loop:
            raise ValueError("a loop has no end: ask for a loop, or for its end")
        return self

    @classmethod
    def of_each(cls, prompts: Sequence[str], seeds: Sequence[int], **alike: Any) -> list[Self]:
        """Return a request for each prompt with each seed; `alike` is the same in all of them.

        >>> [one.seed for one in TakeRequest.of_each(["rain"], range(2), seconds=5)]
        [0, 1]
        """
        return [cls(prompt=prompt, seed=seed, **alike) for prompt in prompts for seed in seeds]

    @property
    def batch_key(self) -> tuple[object, ...]:
        """What takes that are made in one batch have in common."""
        one_length = self.loop or self.to_end or self.variation
        return (
            self.sampling,
            self.negative_prompt,
            self.loop,
            self.to_end,
            self.seconds if one_length else None,
            self.variation,
            self.rate,
            tuple(sorted(self.controls.items())),
        )

    @property
    def sampling_seed(self) -> int:
        """The seed that sampling runs with: a variation keeps the fine grain of its take."""
        return self.seed if self.variation is None else self.variation.from_seed

    def num_frames(self, spec: LatentSpec) -> int:
        """Latent frames of the take; those of a loop's ring are at least two."""
        if self.loop:
            return max(2, round(spec.num_samples(self.seconds) / spec.hop_length))
        return spec.num_frames(self.seconds)

    def start_noise(self, spec: LatentSpec) -> Tensor | None:
        """Noise (D, L) to start from; None where it is that of the seed alone.

        The noise of a variation is its take's, turned towards new noise by amount pi/2 (as
        "retake" of ACE-Step does).
        """
        if self.variation is None:
            return None
        angle = self.variation.amount * math.pi / 2
        shape = spec.channels, [self.num_frames(spec)]
        own = noise_source("start", [self.variation.from_seed], *shape)()[0]
        new = noise_source("variation", [self.seed], *shape)()[0]
        return math.cos(angle) * own + math.sin(angle) * new
