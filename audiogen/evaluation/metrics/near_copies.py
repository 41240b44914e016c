"""The copy check: which takes are nearly a clip that the model was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.fft
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from audiogen.audio.measure.texture_features import Array, log_mel, mono
from audiogen.audio.spectral import fft_length
from audiogen.data.loading.clips import versions_of
from audiogen.evaluation.material import Sounds
from audiogen.evaluation.scores import Copies, NearestClip

# Windows long enough to smooth the grain of noise (so that a copy that went through
# a codec still matches), fluctuations faster than half a second (so that only the course of
# events counts, not the colour that all clips of a class share).
_COPY_BANDS = 32
_COPY_WINDOW_SECONDS, _COPY_TREND_SECONDS = 0.093, 0.5
_COPY_RANGE_DB = 60.0
_LEAST_OVERLAP = 0.35
_SAME_RECORDING = 0.8
_THRESHOLD_QUANTILE, _THRESHOLD_LIMITS = 0.01, (0.5, 0.75)
_MAX_THRESHOLD_CLIPS = 300


def nearest_clips(
    takes: Sounds,
    training: Sounds,
    sample_rate: int,
    *,
    sources: Mapping[str, str] | None = None,
    versions: int = 1,
) -> Copies:
    """Find the nearest training clip of each take and tell near-copies.

    Clips are compared by the fluctuations of their log-mel spectrograms, at the best time shift;
    gain, equaliser and shift do not matter. How alike two different recordings get depends on the
    class (two rains 0.15, two sneezes 0.5), so the distance is relative to the second nearest
    recording, a ratio test (Lowe 2004, section 7.1), and to what else is near that clip: one bark
    in silence is like many sounds that have one event. It is (1 - the similarity of take and clip)
    over (1 - the larger of: the similarity of the take to the best clip of any other recording;
    that of the clip to the best other recording). The threshold is what real clips show against
    other real recordings: their 1st percentile, kept within [0.5, 0.75]. About one honest take in
    a hundred falls below it.

    Args:
        takes: what may be copies.
        training: what the model was trained on.
        sample_rate: Hz, of all of them.
        sources: recording that a training clip of a name comes from; each its own when not given.
            Clips so alike that they must be one recording are joined in any case.
        versions: of each clip that `versions_of` made for training. Takes are compared with all of
            them, since a pattern of another speed is no match.
    """
    if not takes.wavs or not training.wavs:
        raise ValueError(
            f"nearest_clips: {len(takes.wavs)} takes and {len(training.wavs)} training clips;"
            " give some of each"
        )
    recordings = np.asarray([sources[one] if sources else one for one in training.names])
    learnt = [version for wav in training.wavs for version in versions_of(wav, versions)]
    patterns = [_pattern(wav, sample_rate) for wav in (*takes.wavs, *learnt)]
    longest = max(pattern.shape[1] for pattern in patterns)
    search = _CopySearch(patterns[len(takes.wavs) :], recordings.repeat(versions), longest)
    nearest = []
    for name, pattern in zip(takes.names, patterns, strict=False):
        clip, distance = search.nearest(search.similarities(pattern))
        nearest.append(
            NearestClip(take=name, clip=training.names[clip // versions], distance=distance)
        )
    return Copies(threshold=search.threshold(), nearest=tuple(nearest))


class _CopySearch:
    """Training patterns prepared for correlation by FFT, and who is kin to whom."""

    def __init__(
        self, patterns: Sequence[Array], sources: NDArray[np.generic], longest: int
    ) -> None:
        self.patterns = patterns
        self.sources = sources
        self.size = scipy.fft.next_fast_len(2 * longest, real=True)
        stack = np.zeros((len(patterns), _COPY_BANDS, longest), dtype=np.float32)
        lengths = np.zeros((len(patterns), longest), dtype=np.float32)
        for index, pattern in enumerate(patterns):
            stack[index, :, : pattern.shape[1]] = pattern
            lengths[index, : pattern.shape[1]] = 1
        energies = np.square(stack).sum(axis=1)
        self.spectra = self._fft(stack)
        self.covers, self.energies = self._fft(lengths), self._fft(energies)
        self.totals = energies.sum(axis=1)
        self.rows: dict[int, Array] = {}

    def _fft(self, signals: Array) -> NDArray[np.complex64]:
        return np.asarray(scipy.fft.rfft(signals, self.size, axis=-1))

    def similarities(self, pattern: Array) -> Array:
        """Best correlation of a pattern (bands, M) with each training clip, over all shifts.

        Each shift is normalised by the energies where the two overlap, but not by less than a
        third of the whole: a short accidental overlap must not count as a match.
        """
        energy = np.square(pattern).sum(axis=0)
        query, cover = self._fft(pattern).conj(), self._fft(np.ones_like(energy)).conj()
        products = self._shifts(np.einsum("bw,nbw->nw", query, self.spectra))
        own = np.maximum(self._shifts(self._fft(energy).conj() * self.covers), 0)
        theirs = np.maximum(self._shifts(cover * self.energies), 0)
        least = _LEAST_OVERLAP * np.sqrt(energy.sum() * self.totals)[:, None]
        best = (products / np.maximum(np.maximum(np.sqrt(own * theirs), least), 1e-6)).max(axis=1)
        return np.asarray(np.minimum(best, 1.0), dtype=np.float32)

    def _shifts(self, spectra: NDArray[np.complex64]) -> Array:
        return np.asarray(scipy.fft.irfft(spectra, self.size, axis=-1))

    def row(self, clip: int) -> Array:
        """Similarities of one training clip to all, computed once."""
        if clip not in self.rows:
            self.rows[clip] = self.similarities(self.patterns[clip])
        return self.rows[clip]

    def kin(self, clip: int) -> NDArray[np.bool_]:
        """Training clips of the same recording as `clip`."""
        return np.asarray((self.sources == self.sources[clip]) | (self.row(clip) > _SAME_RECORDING))

    def nearest(
        self, similarities: Array, own: NDArray[np.bool_] | None = None
    ) -> tuple[int, float]:
        """The best clip and the ratio distance.

        `own` marks training clips of the query's own recording, where it is one of them.
        """
        clip = int(np.argmax(similarities))
        best = float(similarities[clip])
        others = float(np.where(self.kin(clip), 0.0, similarities).max())
        strangers = self.kin(clip) if own is None else self.kin(clip) | own
        usual = float(np.where(strangers, 0.0, self.row(clip)).max())
        return clip, (1 - best) / max(1 - max(others, usual), 1e-6)

    def threshold(self) -> float:
        """1st percentile of the distances of real clips to the other recordings."""
        step = max(1, math.ceil(len(self.patterns) / _MAX_THRESHOLD_CLIPS))
        distances = []
        for clip in range(0, len(self.patterns), step):
            foreign = np.where(self.kin(clip), 0.0, self.row(clip))
            distances.append(self.nearest(foreign, own=self.kin(clip))[1])
        return float(np.clip(np.quantile(distances, _THRESHOLD_QUANTILE), *_THRESHOLD_LIMITS))


def _pattern(wav: Tensor, sample_rate: int) -> Array:
    """Log-mel fluctuations (bands, M): no gain, no equaliser, no slow trend, no common level."""
    signal = mono(wav, sample_rate)
    n_fft = fft_length(_COPY_WINDOW_SECONDS, sample_rate)
    signal = signal / max(float(np.abs(signal).max()), 1e-6)
    mel = log_mel(signal, sample_rate, num_bands=_COPY_BANDS, n_fft=n_fft, hop=n_fft // 2)
    mel = mel.clamp_min(float(mel.max()) - _COPY_RANGE_DB)
    reach = round(_COPY_TREND_SECONDS * sample_rate / n_fft)
    padded = F.pad(mel[None], (reach, reach), mode="replicate")
    mel = mel - F.avg_pool1d(padded, 2 * reach + 1, stride=1)[0]
    return (mel - mel.mean(dim=0)).numpy()
