"""A fingerprint that survives re-encoding, gain and trimming; free of torch.

Every 10.7 ms a word of 32 bits says how the energies of 33 neighbouring bands change against each
other in time (Haitsma and Kalker, "A highly robust audio fingerprinting system", ISMIR 2002).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import soxr

from audiogen.audio.measure.polarity import mean_of_channels

Words = npt.NDArray[np.uint32]

RATE = 6_000  # Hz
WINDOW = 2048  # 0.34 s
HOP = 64
BAND_EDGES_HZ = np.geomspace(250, 1950, 34)
QUIET = 1e-6  # of the loudest frame's power: below it no word is trusted
_EDGES = np.round(BAND_EDGES_HZ / RATE * WINDOW).astype(int)
_FRAMES_AT_ONCE = 512
NO_WORDS: Words = np.zeros(0, dtype=np.uint32)


class Fingerprinter:
    """Makes the fingerprint of a sound that comes in blocks."""

    def __init__(self, sample_rate: int) -> None:
        self._resampler = soxr.ResampleStream(sample_rate, RATE, 1, dtype="float32", quality="LQ")
        self._rest: npt.NDArray[np.float32] = np.zeros(0, dtype=np.float32)
        self._energies: list[npt.NDArray[np.float32]] = []

    def add(self, block: npt.NDArray[np.float32], *, last: bool = False) -> None:
        """Take the next samples (n, C); channels are averaged, see `mean_of_channels`."""
        mono = mean_of_channels(block)
        wav = np.concatenate([self._rest, self._resampler.resample_chunk(mono, last=last)])
        while len(wav) >= WINDOW:
            count = min((len(wav) - WINDOW) // HOP + 1, _FRAMES_AT_ONCE)
            self._energies.append(_band_energies(wav, count))
            wav = wav[count * HOP :]
        self._rest = wav

    def words(self) -> Words:
        """Return the words so far; 0 stands where it is too quiet to say anything."""
        if not self._energies:
            return NO_WORDS
        energies = np.concatenate(self._energies)
        slopes = np.diff(energies, axis=1)
        bits = np.diff(slopes, axis=0) > 0
        words = np.packbits(bits, axis=1).view(">u4")[:, 0].astype(np.uint32)
        power = energies.sum(axis=1)
        loud = power > max(QUIET * float(power.max()), 1e-12)
        words[~(loud[1:] & loud[:-1])] = 0
        return words


def _band_energies(wav: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    """Energies (count, 33) of the first frames of a sound at `RATE`."""
    frames = np.lib.stride_tricks.sliding_window_view(wav, WINDOW)[::HOP][:count]
    spectra = np.fft.rfft(frames * np.hanning(WINDOW).astype(np.float32))
    power = np.square(np.abs(spectra[:, : _EDGES[-1]]))
    energies: npt.NDArray[np.float32] = np.add.reduceat(power, _EDGES[:-1], axis=1)
    return energies
