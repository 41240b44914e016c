"""Distances between sets of sounds. Pure functions.

Sets are compared as points (n_items, K) of a `FeatureSpace`. Every distance to real recordings
is meant to be read between two references: real against real (the floor) and `noise_like`
against real (the ceiling). Small sets are further apart than large ones by chance alone, so
compare sets of equal size: `matched` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.spatial.distance import cdist, pdist
from torch import Tensor

from audiogen.audio.measure.texture_features import Array
from audiogen.seeds import normal, numbers_of

Distance = Callable[[Array, Array], float]


def noise_like(wavs: Sequence[Tensor], seed: int) -> list[Tensor]:
    """White Gaussian noise with the shape and RMS level of each clip (C, T): the ceiling."""
    noises = []
    for index, wav in enumerate(wavs):
        noise = normal(numbers_of("metric", seed, index), *wav.shape)
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

    within = sum(np.exp(-np.square(pdist(x)) / (2 * bandwidth**2)).mean() for x in (a, b))
    between = np.exp(-cdist(a, b, "sqeuclidean") / (2 * bandwidth**2)).mean()
    return float(within - 2 * between)


def frechet_audio_distance(a: Array, b: Array) -> float:
    """Fréchet distance of two sets of embeddings (Kilgour et al. 2019), with whole covariances.

    Dowson & Landau 1982, eq. 4, of which `frechet_distance` is the diagonal case:
    |mean difference|^2 + tr A + tr B - 2 tr (A B)^(1/2). The last trace is the sum of the singular
    values of the centred points of one set times those of the other, which takes no square root
    of a matrix and stays exact where there are fewer points than axes. Few points make it larger:
    compare sets of equal size, and no value with one of another number of points.

    Args:
        a: (n_items >= 2, D).
        b: (m_items >= 2, D).
    """
    _check_points("frechet_audio_distance", a, b)
    means = np.square(a.mean(axis=0, dtype=np.float64) - b.mean(axis=0, dtype=np.float64)).sum()
    from_a, from_b = ((x - x.mean(axis=0, dtype=np.float64)) / np.sqrt(len(x) - 1) for x in (a, b))
    traces = np.square(from_a).sum() + np.square(from_b).sum()
    common = np.linalg.norm(from_a @ from_b.T, "nuc")
    return max(0.0, float(means + traces - 2 * common))


def kernel_audio_distance(a: Array, reference: Array) -> float:
    """KAD (Chung et al. 2025, arXiv 2502.15602): 100 times `mmd`.

    The bandwidth is the median distance between two points of the reference; the factor is that
    of the authors' toolkit (kadtk 1.1.0). 0 in expectation for independent draws of one
    distribution, whatever their number.

    Args:
        a: (n_items >= 2, D) embeddings of what is measured.
        reference: (m_items >= 2, D) embeddings of real sounds.
    """
    _check_points("kernel_audio_distance", a, reference)
    bandwidth = max(float(np.median(pdist(reference))), 1e-9)  # one sound over and over
    return 100 * mmd(a, reference, bandwidth=bandwidth)


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
    return float(pdist(takes).mean() / max(pdist(real).mean(), 1e-9))


def _check_points(name: str, a: Array, b: Array) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"{name}: expected (n_items >= 2, K) and (m_items >= 2, K), got {a.shape} and {b.shape}"
        )
