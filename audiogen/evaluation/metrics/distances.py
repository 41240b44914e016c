"""Distances between sets of sounds, the copy check, and codec reconstruction. Pure functions.

Sets are compared as points (n_items, K) of a `FeatureSpace`. Every distance to real recordings
is meant to be read between two references: real against real (the floor) and `noise_like`
against real (the ceiling). Small sets are further apart than large ones by chance alone, so
compare sets of equal size: `matched` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from audiogen.audio.spectral import stft
from audiogen.data.loading.clips import versions_of
from audiogen.evaluation.metrics.features import Array, fft_length, log_mel, mono

Distance = Callable[[Array, Array], float]

# Copy check. Windows long enough to smooth the grain of noise (so that a copy that went through
# a codec still matches), fluctuations faster than half a second (so that only the course of
# events counts, not the colour that all clips of a class share).
_COPY_BANDS = 32
_COPY_WINDOW_SECONDS, _COPY_TREND_SECONDS = 0.093, 0.5
_COPY_RANGE_DB = 60.0
_LEAST_OVERLAP = 0.35
_SAME_RECORDING = 0.8
_THRESHOLD_QUANTILE, _THRESHOLD_LIMITS = 0.01, (0.5, 0.75)
_MAX_THRESHOLD_CLIPS = 300


def noise_like(wavs: Sequence[Tensor], seed: int) -> list[Tensor]:
    """White Gaussian noise with the shape and RMS level of each clip (C, T): the ceiling."""
    noises = []
    for index, wav in enumerate(wavs):
        generator = torch.Generator().manual_seed(seed + index)
        noise = torch.randn(wav.shape, generator=generator)
        noises.append(noise * wav.float().square().mean().sqrt())
    return noises


def frechet_distance(a: Array, b: Array) -> float:
    """Fréchet distance (Dowson & Landau 1982, eq. 4) between two sets of points, never negative.

    The covariances are diagonal: sum over axes of (mean difference)^2 + (deviation difference)^2.
    With points of a whitened `FeatureSpace` the axes are uncorrelated over all real sounds, so
    little is lost, and 8 items per set suffice where a full covariance of 8 items is singular.
    Its unit is the variance of real sounds along one axis.

    Args:
        a: (n_items >= 2, K), e.g. from `FeatureSpace.project`.
        b: (m_items >= 2, K).
    """
    _check_points("frechet_distance", a, b)
    means = np.square(a.mean(axis=0) - b.mean(axis=0))
    deviations = np.square(a.std(axis=0, ddof=1) - b.std(axis=0, ddof=1))
    return float(np.sum(means + deviations))


def mmd(a: Array, b: Array, *, bandwidth: float) -> float:
    """Squared maximum mean discrepancy, unbiased (Gretton et al. 2012, eq. 3), RBF kernel.

    It is 0 in expectation for two sets of one distribution (so it may be a little negative) and
    at most 2 for sets that never meet.

    Args:
        a: (n_items >= 2, K) points.
        b: (m_items >= 2, K) points.
        bandwidth: the kernel is exp(-distance^2 / (2 bandwidth^2)); pass `FeatureSpace.bandwidth`
            (median heuristic over the real training clips), so that all labels share one kernel.
    """
    _check_points("mmd", a, b)

    def kernel(x: Array, y: Array) -> NDArray[np.float64]:
        squares = np.square(x[:, None].astype(np.float64) - y[None]).sum(axis=2)
        return np.asarray(np.exp(-squares / (2 * bandwidth**2)))

    def within(x: Array) -> float:
        return float((kernel(x, x).sum() - len(x)) / (len(x) * (len(x) - 1)))

    return within(a) + within(b) - 2 * float(kernel(a, b).mean())


def matched(
    distance: Distance, a: Array, b: Array, *, num_items: int, draws: int = 32, seed: int = 0
) -> float:
    """Mean of `distance` over random subsets of `num_items` of each set, without replacement.

    Gives takes, real clips and noise the same chance error, whatever their numbers; a set with
    fewer items is used whole, and the other is drawn to its size.
    """
    _check_points("matched", a, b)
    size = min(num_items, len(a), len(b))
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        rows, columns = rng.permutation(len(a))[:size], rng.permutation(len(b))[:size]
        values.append(distance(a[rows], b[columns]))
    return float(np.mean(values))


def diversity(takes: Array, real: Array) -> float:
    """Mean distance between two takes over mean distance between two real clips of the label.

    1 is as varied as the real clips, 0 is one sound over and over. Points as for
    `frechet_distance`; takes and clips should have the same length in seconds.
    """
    _check_points("diversity", takes, real)
    return _mean_distance(takes) / max(_mean_distance(real), 1e-9)


def _mean_distance(points: Array) -> float:
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    return float(distances[np.triu_indices(len(points), 1)].mean())


def _check_points(name: str, a: Array, b: Array) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"{name}: expected (n_items >= 2, K) and (m_items >= 2, K), got {a.shape} and {b.shape}"
        )


@dataclass(frozen=True, kw_only=True)
class NearestClip:
    """The training clip most like one take.

    Attributes:
        take: index into the takes.
        clip: index into the training clips.
        similarity: largest correlation of the two over all time shifts, at most 1.
        distance: (1 - similarity) / (1 - the larger of: similarity of the take to the best clip
            of any other recording; similarity of the clip to the best other recording). Near 1
            or above when others are as near, near 0 when the two stand out.
    """

    take: int
    clip: int
    similarity: float
    distance: float


@dataclass(frozen=True, kw_only=True)
class CopyCheck:
    """What `nearest_clips` found; a take nearer than `threshold` is a near-copy."""

    threshold: float
    nearest: tuple[NearestClip, ...]

    @property
    def copies(self) -> list[NearestClip]:
        """The takes that are near-copies."""
        return [found for found in self.nearest if found.distance < self.threshold]


def nearest_clips(
    takes: Sequence[Tensor],
    training: Sequence[Tensor],
    sample_rate: int,
    *,
    sources: Sequence[str] | None = None,
    versions: int = 1,
) -> CopyCheck:
    """Find the nearest training clip of each take and tell near-copies.

    Clips are compared by the fluctuations of their log-mel spectrograms, at the best time shift;
    gain, equaliser and shift do not matter. How alike two different recordings get depends on the
    class (two rains 0.15, two sneezes 0.5), so the distance is relative to the second nearest
    recording, a ratio test (Lowe 2004, section 7.1), and to what else is near that clip: one bark
    in silence is like many sounds that have one event. The threshold is what real clips show
    against other real recordings: their 1st percentile, kept within [0.5, 0.75]. About one
    honest take in a hundred falls below it.

    Args:
        takes: waveforms (C, T).
        training: waveforms (C, T) that the model was trained on.
        sample_rate: Hz, of all of them.
        sources: recording that each training clip comes from; each its own when not given.
            Clips so alike that they must be one recording are joined in any case.
        versions: of each clip that were learnt, as of `versions_of`. Takes are compared with all of
            them, since a pattern of another speed is no match.
    """
    if not takes or not training:
        raise ValueError(
            f"nearest_clips: {len(takes)} takes, {len(training)} training clips: need some of each"
        )
    names = np.asarray(sources if sources is not None else range(len(training)))
    if len(names) != len(training):
        raise ValueError(f"nearest_clips: {len(names)} sources for {len(training)} training clips")
    learnt = [version for wav in training for version in versions_of(wav, versions)]
    patterns = [_pattern(wav, sample_rate) for wav in (*takes, *learnt)]
    longest = max(pattern.shape[1] for pattern in patterns)
    search = _CopySearch(patterns[len(takes) :], names.repeat(versions), longest)
    nearest = []
    for index, pattern in enumerate(patterns[: len(takes)]):
        clip, similarity, distance = search.nearest(search.similarities(pattern))
        nearest.append(
            NearestClip(take=index, clip=clip // versions, similarity=similarity, distance=distance)
        )
    return CopyCheck(threshold=search.threshold(), nearest=tuple(nearest))


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
    ) -> tuple[int, float, float]:
        """The best clip, its similarity and the ratio distance.

        `own` marks training clips of the query's own recording, where it is one of them.
        """
        clip = int(np.argmax(similarities))
        best = float(similarities[clip])
        others = float(np.where(self.kin(clip), 0.0, similarities).max())
        strangers = self.kin(clip) if own is None else self.kin(clip) | own
        usual = float(np.where(strangers, 0.0, self.row(clip)).max())
        return clip, best, (1 - best) / max(1 - max(others, usual), 1e-6)

    def threshold(self) -> float:
        """1st percentile of the distances of real clips to the other recordings."""
        step = max(1, math.ceil(len(self.patterns) / _MAX_THRESHOLD_CLIPS))
        distances = []
        for clip in range(0, len(self.patterns), step):
            foreign = np.where(self.kin(clip), 0.0, self.row(clip))
            distances.append(self.nearest(foreign, own=self.kin(clip))[2])
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


@dataclass(frozen=True, kw_only=True)
class ReconstructionMetrics:
    """How near a codec's output is to its input.

    Attributes:
        stft_distance: multi-resolution STFT distance, mean absolute difference of the log
            magnitudes (nats) plus spectral convergence, averaged over the resolutions
            (Yamamoto et al. 2020, eq. 4 to 6). 0 is equal.
        mel_distance: mean absolute difference of the 80-band log-mel spectrograms, in dB.
        si_sdr_db: scale-invariant signal-to-distortion ratio (Le Roux et al. 2019, eq. 5), dB.
            It asks for the same waveform, phases included: noisy textures score low.
    """

    stft_distance: float
    mel_distance: float
    si_sdr_db: float


def reconstruction_metrics(
    reference: Tensor, estimate: Tensor, sample_rate: int
) -> ReconstructionMetrics:
    """Compare two waveforms (C, T) of the same shape. Finite for silence; -80 dB is its floor."""
    if reference.shape != estimate.shape or reference.ndim != 2:
        raise ValueError(
            "reconstruction_metrics: expected two waveforms (C, T) of one shape, got"
            f" {tuple(reference.shape)} and {tuple(estimate.shape)}"
        )
    mono(reference, sample_rate)
    mono(estimate, sample_rate)
    reference, estimate = reference.detach().float().cpu(), estimate.detach().float().cpu()
    n_fft = fft_length(0.046, sample_rate)
    first, second = (
        log_mel(wav.numpy(), sample_rate, num_bands=80, n_fft=n_fft, hop=n_fft // 4)
        for wav in (reference, estimate)
    )
    distances = [
        _stft_distance(reference, estimate, fft_length(seconds, sample_rate))
        for seconds in (0.0232, 0.0464, 0.0928)
    ]
    return ReconstructionMetrics(
        stft_distance=sum(distances) / len(distances),
        mel_distance=float((first - second).abs().mean()),
        si_sdr_db=_si_sdr_db(reference, estimate),
    )


def _stft_distance(reference: Tensor, estimate: Tensor, n_fft: int) -> float:
    floor, hop = 1e-4, n_fft // 4
    padding = (0, -reference.shape[-1] % hop)
    first = stft(F.pad(reference, padding), n_fft, hop).abs()
    second = stft(F.pad(estimate, padding), n_fft, hop).abs()
    logs = (first.clamp_min(floor).log() - second.clamp_min(floor).log()).abs().mean()
    energy = first.norm().clamp_min(floor * math.sqrt(first.numel()))
    return float(logs + (first - second).norm() / energy)


def _si_sdr_db(reference: Tensor, estimate: Tensor) -> float:
    """Scale-invariant SDR over all channels; the 1e-10 keeps silence finite."""
    reference = (reference - reference.mean(dim=-1, keepdim=True)).double()
    estimate = (estimate - estimate.mean(dim=-1, keepdim=True)).double()
    scale = (reference * estimate).sum() / reference.square().sum().clamp_min(1e-10)
    target = scale * reference
    ratio = (target.square().mean() + 1e-10) / ((estimate - target).square().mean() + 1e-10)
    return float(10 * torch.log10(ratio))
