"""Mixtures: two training sounds of different labels at once, or one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.audio.dsp import loudest_part, set_loudness
from audiogen.codecs import Codec
from audiogen.data.loading.clips import in_parts, thinned
from audiogen.data.loading.latents import LatentItem, encode_clip
from audiogen.data.loading.long_sounds import MAX_GAIN_DB
from audiogen.data.manifest import ManifestRow
from audiogen.seeds import numbers_of
from audiogen.types import LatentSpec

MOST_MIXTURES = 1000
LEVEL_DB = 3.0
"""By which one of the sounds is louder than the other, at most."""
FADE_SECONDS = 0.05
SEARCHED_WINDOWS = 4
"""In which the loudest is looked for: where a sound pauses, nobody would hear it in a mixture."""


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """What mixture `number` of a seed is made of."""

    first: ManifestRow
    second: ManifestRow
    joint: Literal["and", "then"]
    number: int
    seed: int

    @property
    def row(self) -> ManifestRow:
        """As which it is encoded: a sound with a caption, and without a label."""
        one, other = self.first, self.second
        between = " and " if self.joint == "and" else ", then "
        return ManifestRow(
            path=f"mixture {self.number}: {one.path} {self.joint} {other.path}",
            seconds=max(one.seconds, other.seconds),
            sample_rate=one.sample_rate,
            channels=max(one.channels, other.channels),
            prompt=f"{one.label}{between}{other.label}",
            split=one.split,
            role="whole" if one.role == other.role == "whole" else "slice",
        )


def plan_mixtures(rows: Sequence[ManifestRow], *, seed: int) -> list[Mixture]:
    """Pair each sound that has a label with one of another; none where there are not two labels.

    Every second mixture is of both at once. The other labels are as frequent as one another.
    """
    of_label: dict[str, list[ManifestRow]] = {}
    for row in rows:
        if row.label:
            of_label.setdefault(row.label, []).append(row)
    if len(of_label) < 2:
        return []
    mixtures = []
    labelled = [row for row in rows if row.label]
    for number, first in enumerate(thinned(labelled, MOST_MIXTURES)):
        random = numbers_of("mixture", seed, number)
        others = sorted(of_label.keys() - {first.label})
        second = of_label[others[int(random.integers(len(others)))]]
        mixtures.append(
            Mixture(
                first=first,
                second=second[int(random.integers(len(second)))],
                joint="then" if number % 2 else "and",
                number=number,
                seed=seed,
            )
        )
    return mixtures


def mix(folder: Path, mixture: Mixture, spec: LatentSpec, num_frames: int) -> Tensor:
    """Make a mixture (C, T) of at most `num_frames`, at the loudness of all sounds.

    Raises:
        AudioReadError: one of the files has changed since intake.
    """
    random = numbers_of("mixing", mixture.seed, mixture.number)
    fade = round(FADE_SECONDS * spec.sample_rate)
    length = num_frames * spec.hop_length
    at_once = mixture.joint == "and"
    own = length if at_once else (length + fade) // 2
    change, place = random.random(2).tolist()
    level = 10 ** (LEVEL_DB * (change - 0.5) / 20)
    first, second = (
        _piece(folder, row, spec, own, random.random()) for row in (mixture.first, mixture.second)
    )
    first, second = first * level, second / level
    wav = _at_once(first, second, place) if at_once else _in_turn(first, second, fade)
    return set_loudness(wav, spec.sample_rate, max_gain_db=MAX_GAIN_DB)


def encode_mixtures(
    folder: Path, mixtures: Sequence[Mixture], codec: Codec, *, num_frames: int
) -> Iterator[LatentItem]:
    """Encode mixtures as training windows of `num_frames`."""
    for mixture in mixtures:
        wav = mix(folder, mixture, codec.spec, num_frames)
        yield encode_clip(wav, mixture.row, codec, min_frames=num_frames)


def _piece(folder: Path, row: ManifestRow, spec: LatentSpec, length: int, place: float) -> Tensor:
    """The loudest `length` samples of a sound, near some place of a long one."""
    num_samples, cut = in_parts(folder, row, spec, window_seconds=length / spec.sample_rate)
    searched = min(num_samples, SEARCHED_WINDOWS * length)
    start = math.floor(place * (num_samples - searched + 1))
    piece = loudest_part(cut(start, start + searched), length)
    return set_loudness(piece, spec.sample_rate, max_gain_db=MAX_GAIN_DB)


def _at_once(first: Tensor, second: Tensor, place: float) -> Tensor:
    """Sum (C, T); the shorter one lies somewhere in the longer."""
    longer, shorter = (first, second) if first.shape[1] >= second.shape[1] else (second, first)
    spare = longer.shape[1] - shorter.shape[1]
    before = math.floor(place * (spare + 1))
    return longer + F.pad(shorter, (before, spare - before))


def _in_turn(first: Tensor, second: Tensor, fade: int) -> Tensor:
    """One after the other; they overlap by `fade` samples, at equal power."""
    fade = min(fade, first.shape[1], second.shape[1])
    falling = torch.cos(torch.linspace(0, math.pi / 2, fade))
    middle = first[:, first.shape[1] - fade :] * falling + second[:, :fade] * falling.flip(0)
    return torch.cat([first[:, : first.shape[1] - fade], middle, second[:, fade:]], dim=1)
