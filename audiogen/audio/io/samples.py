"""The samples of a sound as a number: whether a file still holds what was once written to it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

FULL_SCALE = np.float32(1 << 23)


def samples_digest(blocks: Iterable[npt.NDArray[np.float32]], sample_rate: int) -> str:
    """Name the samples that were read from a file.

    Args:
        blocks: (n, C) each, as libsndfile reads them from 24 bits: steps of 2^-23, exactly.
        sample_rate: Hz.

    Returns:
        sha256 in hexadecimal: the same for WAV, FLAC and whatever else keeps 24 bits.
    """
    found = hashlib.sha256(f"{sample_rate} Hz".encode())
    for number, block in enumerate(blocks):
        if number == 0:
            found.update(f", {block.shape[1]} channels".encode())
        found.update(np.rint(block * FULL_SCALE).astype("<i4").tobytes())
    return found.hexdigest()
