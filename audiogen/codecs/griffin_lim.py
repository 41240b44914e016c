"""Waveforms from magnitudes without any training (Griffin and Lim 1984), by librosa."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEPS = 32
"""Iterations, with momentum (Perraudin, Balazs and Søndergaard 2013)."""

Array = NDArray[np.float32]


def griffin_lim(magnitudes: Array, hop_length: int, seed: list[int]) -> Array:
    """Find a waveform whose STFT has nearly the given magnitudes, from random phases.

    The framing and the level are those of `audio/spectral.py`.

    Args:
        magnitudes: of unit-energy STFT frames, (n_fft // 2 + 1, L).
        hop_length: samples between frames.
        seed: numbers >= 0 that the starting phases depend on.

    Returns:
        (L * hop_length,).
    """
    import librosa  # noqa: PLC0415 (slow to import)

    n_fft, length = 2 * (len(magnitudes) - 1), magnitudes.shape[1] * hop_length
    # librosa's window is a plain Hann window, whose energy is 3/8 of its length.
    wav = librosa.griffinlim(
        magnitudes * np.sqrt(0.375 * n_fft),
        n_iter=STEPS,
        hop_length=hop_length,
        n_fft=n_fft,
        center=False,
        random_state=np.random.default_rng(seed),
    )
    start = (n_fft - hop_length) // 2
    return np.asarray(wav[start : start + length], dtype=np.float32)
