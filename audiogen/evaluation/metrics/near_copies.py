"""The copy check: which takes are nearly a clip that the model was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from audiogen.audio.measure.texture_features import Array, log_mel, mono
from audiogen.audio.spectral import fft_length
from audiogen.data.loading.clips import versions_of
from audiogen.evaluation.material import Sounds
from audiogen.evaluation.scores import NearestClip

# What a codec that re-draws noise keeps of a clip: the coarse shape of its spectrum, and
# fluctuations below a dozen per second. Finer bands and faster ones are new in each decoding.
_BANDS, _SHAPES = 64, 13
_WINDOW_SECONDS, _FASTEST_HZ = 0.093, 10.0
_RANGE_DB = 60.0
_QUIET = 0.2  # of the mean power: frames with less count for less
_OWN = 0.9  # of a clip's whitening is by what it shows itself
_SPEEDS = 5  # in steps of 2 %: half a step lets a part of 5 s drift by no more than a window
_PART_SECONDS = 1.25
_CHANCE = 3.0  # what two noises reach at the best of their shifts
_USUAL_CLIPS = 300
_THRESHOLD_QUANTILE, _THRESHOLD_LIMITS = 0.015, (0.5, 0.75)
_QUERIES_AT_ONCE = 4


class CopyCheck:
    """Training clips, and how alike sounds usually are to each of them that are no copies.

    Sounds are compared by the course of the coarse shape of their spectra, whitened over time and
    between shapes, each frame at the same length. The similarity of two is the highest correlation
    of a part of one (1.25 s, or 2, 4, ... times that) with the other over all shifts, and over
    speeds of up to 4 % more or less, in standard deviations of chance. So gain, equaliser, shift
    and speed do not matter, nor what else is in the sound. How alike different recordings get
    depends on the clip, so the distance of a sound to a clip is relative: the similarity that the
    second nearest other recording has to the clip, over that of the sound (a ratio test, Lowe
    2004, section 7.1). The second, since a recording may be in the set twice. The threshold is
    what training clips show against other recordings: 1.5 % of them lie below it, as far
    as it may lie within [0.5, 0.75].
    """

    def __init__(
        self, training: Sounds, sample_rate: int, *, sources: Mapping[str, str] | None = None
    ) -> None:
        """Prepare the comparison.

        Args:
            training: What the model was trained on.
            sample_rate: Hz, of all sounds.
            sources: Recording that a training clip of a name comes from; each its own when not
                given.

        Raises:
            ValueError: there are no training clips.
        """
        if not training.wavs:
            raise ValueError("the copy check: no training clips were given; give some")
        self.names, self.sample_rate = training.names, sample_rate
        versions: list[list[Array]] = [[] for _ in range(_SPEEDS)]
        for wav in training.wavs:
            for of_speed, version in zip(versions, versions_of(wav, _SPEEDS), strict=True):
                of_speed.append(_shapes(version, sample_rate))
        self.whitening = _Whitening.fit(versions[0], sample_rate)
        patterns = [[self.whitening(one) for one in of_speed] for of_speed in versions]
        self.versions = [_stack(of_speed) for of_speed in patterns]
        recordings = np.asarray([sources[one] if sources else one for one in training.names])
        some = range(0, len(recordings), math.ceil(len(recordings) / _USUAL_CLIPS))
        found = self._similarities([patterns[0][one] for one in some])
        found[recordings[some, None] == recordings] = 0
        self.usual, without = _second_nearest(found, recordings[some])
        nearest = (without / np.maximum(found, _CHANCE)).min(axis=1)
        quantile = float(np.quantile(nearest, _THRESHOLD_QUANTILE))
        self.threshold = min(max(quantile, _THRESHOLD_LIMITS[0]), _THRESHOLD_LIMITS[1])

    def nearest(self, sounds: Sounds) -> tuple[NearestClip, ...]:
        """Find the nearest training clip of each sound; below the threshold it is a copy."""
        patterns = [self.whitening(_shapes(wav, self.sample_rate)) for wav in sounds.wavs]
        distances = self.usual / np.maximum(self._similarities(patterns), 1e-3)
        return tuple(
            NearestClip(take=name, clip=self.names[int(row.argmin())], distance=float(row.min()))
            for name, row in zip(sounds.names, distances, strict=True)
        )

    def share(self, sounds: Sounds) -> float:
        """Share of sounds that are called copies."""
        return float(np.mean([one.distance < self.threshold for one in self.nearest(sounds)]))

    def _similarities(self, queries: Sequence[Array]) -> Array:
        """Similarity of each query to each training clip, (Q, N)."""
        found = [np.zeros((0, len(self.names)), dtype=np.float32)]
        width = round(_PART_SECONDS * self.sample_rate / _hop(self.sample_rate))
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            parts = _stack(queries[start : start + _QUERIES_AT_ONCE])
            count = max(1, round(parts.shape[2] / width))
            of_speeds = [_correlate(parts, clips, count) for clips in self.versions]
            found.append(torch.stack(of_speeds).amax(dim=0).numpy())
        return np.concatenate(found)


@dataclass(frozen=True)
class _Whitening:
    """What makes patterns white: over time by what is usual, between shapes by their own."""

    gains: Array
    """(_SHAPES, F), of an FFT of twice the longest pattern."""
    covariance: Array
    """(_SHAPES, _SHAPES), of the training clips."""

    @classmethod
    def fit(cls, patterns: Sequence[Array], sample_rate: int) -> _Whitening:
        """Measure what is usual of patterns (_SHAPES, M)."""
        size = scipy.fft.next_fast_len(2 * max(one.shape[1] for one in patterns), real=True)
        size += size % 2
        power = np.mean([np.abs(scipy.fft.rfft(one, size)) ** 2 for one in patterns], axis=0)
        power = scipy.ndimage.uniform_filter1d(power, 9, axis=1, mode="nearest")
        power = np.maximum(power, 1e-3 * power.max(axis=1, keepdims=True) + 1e-9)
        hz = scipy.fft.rfftfreq(size, _hop(sample_rate) / sample_rate)
        gains = np.asarray(np.exp(-0.5 * (hz / _FASTEST_HZ) ** 4) / np.sqrt(power), np.float32)
        filtered = [_filtered(one, gains) for one in patterns]
        covariance = sum(one @ one.T for one in filtered) / sum(one.shape[1] for one in filtered)
        return cls(gains, np.asarray(covariance))

    def __call__(self, pattern: Array) -> Array:
        """White, and each frame of one length, so that none counts for many.

        A clip in which all shapes move as one, as where a band limit lies, would be like any other
        such clip if it were not whitened by itself.
        """
        filtered = _filtered(pattern, self.gains)
        own = filtered @ filtered.T
        own *= np.trace(self.covariance) / max(float(np.trace(own)), 1e-9)
        values, vectors = np.linalg.eigh(_OWN * own + (1 - _OWN) * self.covariance)
        values = np.maximum(values, 0.02 * values.mean() + 1e-12)
        white = (vectors / np.sqrt(values)) @ vectors.T @ filtered
        powers = np.square(white).mean(axis=0)
        return np.asarray(white / np.sqrt((powers + _QUIET) * _SHAPES), dtype=np.float32)


def _filtered(pattern: Array, gains: Array) -> Array:
    """A pattern (_SHAPES, M) that is white over time."""
    size = 2 * (gains.shape[1] - 1)
    filtered = scipy.fft.irfft(scipy.fft.rfft(pattern, size) * gains, size)
    return np.asarray(filtered[:, : pattern.shape[1]])


def _second_nearest(found: Array, recordings: NDArray[np.str_]) -> tuple[Array, Array]:
    """What similarity the second nearest recording has to each clip.

    Args:
        found: Similarities of the Q judged clips to N clips.
        recordings: Of the judged clips, (Q,).

    Returns:
        It (N,); and (Q, N) what it is where the recording of the judged clip is left out.
    """
    names, of_clip = np.unique(recordings, return_inverse=True)
    best = np.zeros((max(3, len(names)), found.shape[1]), dtype=np.float32)
    np.maximum.at(best, of_clip, found)
    third, second, _ = np.partition(best, [-3, -2, -1], axis=0)[-3:]
    without = np.where(best[of_clip] >= second, third, second)
    return np.maximum(second, _CHANCE), np.maximum(without, _CHANCE)


def _hop(sample_rate: int) -> int:
    """Samples between frames; 23 ms, as a fluctuation of 10 Hz needs at any shift."""
    return fft_length(_WINDOW_SECONDS, sample_rate) // 4


def _shapes(wav: Tensor, sample_rate: int) -> Array:
    """The coarse shape of the log-mel spectrum over time (_SHAPES, M), of mean 0."""
    signal = mono(wav, sample_rate)
    signal = signal / max(float(np.abs(signal).max()), 1e-6)
    hop = _hop(sample_rate)
    mel = log_mel(signal, sample_rate, num_bands=_BANDS, n_fft=4 * hop, hop=hop)
    mel = mel.clamp_min(float(mel.max()) - _RANGE_DB)
    shapes = scipy.fft.dct(mel.numpy(), axis=0, norm="ortho")[:_SHAPES]
    return np.asarray(shapes - shapes.mean(axis=1, keepdims=True))


def _stack(patterns: Sequence[Array]) -> Tensor:
    """Patterns (n, _SHAPES, M), the shorter ones filled with silence."""
    stack = np.zeros((len(patterns), _SHAPES, max(one.shape[1] for one in patterns)), np.float32)
    for row, pattern in zip(stack, patterns, strict=True):
        row[:, : pattern.shape[1]] = pattern
    return torch.from_numpy(stack)


def _spectra(patterns: Tensor, size: int) -> Tensor:
    """FFT (F, n, _SHAPES) of patterns (n, _SHAPES, M)."""
    spectra: Tensor = torch.fft.rfft(patterns, size)
    return spectra.permute(2, 0, 1).contiguous()


def _correlate(queries: Tensor, clips: Tensor, count: int) -> Tensor:
    """Highest correlation (Q, N) of any part of a query with a clip.

    Args:
        queries: (Q, _SHAPES, M), of which `count` parts are made.
        clips: (N, _SHAPES, L).
        count: Parts are these, and 2, 4, ... of them that follow each other.
    """
    width, length = -(-queries.shape[2] // count), clips.shape[2]
    size = scipy.fft.next_fast_len(length + width, real=True)
    padded = F.pad(queries, (0, count * width - queries.shape[2]))
    parts = padded.reshape(*queries.shape[:2], count, width).permute(2, 0, 1, 3)
    products = _spectra(parts.flatten(0, 1), size).conj() @ _spectra(clips, size).transpose(1, 2)
    found: Tensor = torch.fft.irfft(products, size, dim=0).roll(width - 1, 0)[: length + width - 1]
    # A row is one shift of the whole query: part i lies i widths later in it.
    sums = found.new_zeros(count, length + count * width - 1, len(queries), len(clips))
    for number, part in enumerate(found.reshape(len(found), count, len(queries), -1).unbind(1)):
        start = (count - 1 - number) * width
        sums[number, start : start + len(part)] = part
    best, joined = sums.amax(dim=(0, 1)), 1
    while len(sums) > joined:
        sums = sums[:-joined] + sums[joined:]
        joined *= 2
        best = torch.maximum(best, sums.amax(dim=(0, 1)) / math.sqrt(joined))
    scaled: Tensor = best * math.sqrt(_SHAPES / width)
    return scaled
