"""The few axes along which real sounds differ, in which sets of sounds are compared."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist

from audiogen.audio.measure.texture_features import Array

_SCALE_FLOOR, _SCALE_LIMIT = 0.05, 6.0


@dataclass(frozen=True)
class FeatureSpace:
    """The axes along which real sounds differ: standardised, rotated, whitened.

    Features are many (hundreds) and clips of a label are few (eight), so a full covariance per
    label is out of reach. The principal axes of the whole real training set are not: along them,
    scaled to unit variance, real sounds are uncorrelated by construction and every axis counts
    the same. Distances are taken there, with diagonal covariances.

    Attributes:
        mean: (dim,) of the training features.
        scale: (dim,) standard deviations of the training features, with a floor.
        axes: (dim, K) whitening projection of the standardised features.
        bandwidth: median distance between two training clips in the space, for `mmd`.
    """

    mean: Array
    scale: Array
    axes: Array
    bandwidth: float

    @classmethod
    def fit(cls, training: Array, *, num_axes: int = 12) -> FeatureSpace:
        """Find the space of real training clips.

        Args:
            training: features (n_items >= 3, dim).
            num_axes: K. On ESC-10, 8 to 16 axes tell a class from its nearest neighbour and from
                noise equally well; beyond, the real-vs-real floor of 8 items rises towards noise.
        """
        if training.ndim != 2 or len(training) < 3:
            raise ValueError(
                f"FeatureSpace.fit: expected (n_items >= 3, dim) features, got {training.shape}"
            )
        mean, scale = training.mean(axis=0), np.maximum(training.std(axis=0), _SCALE_FLOOR)
        standard = _standardise(training, mean, scale)
        _, singular, rotation = np.linalg.svd(standard - standard.mean(axis=0), full_matrices=False)
        kept = min(num_axes, len(training) - 1, int(np.sum(singular > 1e-4 * singular[0])))
        if kept < 1:
            raise ValueError("FeatureSpace.fit: all training clips have the same features")
        axes = rotation[:kept].T / (singular[:kept] / math.sqrt(len(training) - 1))
        bandwidth = float(np.median(pdist(standard @ axes)))
        return cls(mean, scale, axes.astype(np.float32), bandwidth)

    def project(self, features: Array) -> Array:
        """Features (n_items, dim) to points (n_items, K)."""
        points: Array = _standardise(features, self.mean, self.scale) @ self.axes
        return points


def _standardise(features: Array, mean: Array, scale: Array) -> Array:
    """Zero mean, unit variance, and no value so far out that it alone makes the distance."""
    limited: Array = np.clip((features - mean) / scale, -_SCALE_LIMIT, _SCALE_LIMIT)
    return limited
