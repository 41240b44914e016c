"""Channels that cancel each other, whose mean would be what is left of dither; free of torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

INVERTED_CORRELATION = -0.9
"""Of two channels that cancel each other, or less."""


def mean_of_channels(block: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the mean (n,) of all channels of a block (n, C), of two that cancel, one turned.

    >>> mean_of_channels(np.array([[1, -1], [-1, 1], [1, -1]], dtype=np.float32))
    array([ 1., -1.,  1.], dtype=float32)
    """
    if block.shape[1] == 2 and len(block) > 1:
        left, right = (block - block.mean(axis=0, dtype=np.float64)).T
        scale = float(np.linalg.norm(left) * np.linalg.norm(right))
        if scale > 0 and float(left @ right) <= INVERTED_CORRELATION * scale:
            block = block * np.array([1, -1], dtype=np.float32)
    return np.ascontiguousarray(block.mean(axis=1))
