"""Loudness of sounds that come in blocks, so that hours are measured in little memory."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pyloudnorm
from scipy.signal import lfilter
from torch import Tensor

GATE_LUFS = -70.0
RELATIVE_GATE_DB = -10.0
OFFSET_DB = -0.691
CHANNEL_GAINS = (1.0, 1.0, 1.0, 1.41, 1.41)


class LoudnessMeter:
    """Integrated loudness (ITU-R BS.1770-4) and peak, as `loudness_lufs` finds for the whole.

    Attributes:
        peak: the largest absolute sample so far.
        num_samples: how many samples per channel came so far.
    """

    def __init__(self, sample_rate: int, audio_channels: int) -> None:
        meter = pyloudnorm.Meter(sample_rate)
        self.peak, self.num_samples = 0.0, 0
        self._rate, self._seconds, self._step = sample_rate, meter.block_size, 1 - meter.overlap
        self._filters = [
            (one.b, one.a, one.passband_gain, np.zeros((audio_channels, 2)))
            for one in meter._filters.values()
        ]
        self._gains = np.array(CHANNEL_GAINS[:audio_channels])[:, None]
        self._powers: list[float] = []  # of the gating blocks
        self._held: npt.NDArray[np.float64] = np.zeros(0)  # power of the samples from `_first` on
        self._first = 0

    def add(self, wav: Tensor) -> None:
        """Take the next samples (C, n)."""
        self.peak = max(self.peak, float(wav.abs().max()))
        self.num_samples += wav.shape[1]
        samples = wav.detach().cpu().double().numpy()
        for b, a, gain, state in self._filters:
            samples, state[:] = lfilter(b, a, samples, axis=1, zi=state)
            samples = gain * samples
        power = (self._gains * np.square(samples)).sum(axis=0)
        self._held = np.concatenate([self._held, power])
        while self._bounds()[1] <= self.num_samples:
            self._close()

    def lufs(self) -> float:
        """Loudness of what came, of one gating block (0.4 s) at least; minus infinity for silence.

        What stays below the absolute gate is measured at full scale, as `loudness_lufs` does.
        """
        seconds = self.num_samples / self._rate
        count = round((seconds - self._seconds) / (self._seconds * self._step)) + 1
        while len(self._powers) < count:  # the last one may be cut off
            self._close()
        if self.peak == 0:
            return -math.inf
        for scale in (1.0, 1 / self.peak):
            power = _gated(np.array(self._powers) * scale**2)
            if power > 0:
                return OFFSET_DB + 10 * math.log10(power) - 20 * math.log10(scale)
        return -math.inf

    def _bounds(self) -> tuple[int, int]:
        """Samples between which the next gating block lies."""
        place = len(self._powers) * self._step
        low, high = (self._seconds * one * self._rate for one in (place, place + 1))
        return int(low), int(high)

    def _close(self) -> None:
        """Measure the next gating block, and let go of what no later one needs."""
        low, high = self._bounds()
        self._held, self._first = self._held[low - self._first :], low
        self._powers.append(float(self._held[: high - low].sum()) / (self._seconds * self._rate))


def _gated(powers: npt.NDArray[np.float64]) -> float:
    """Mean of the gating blocks above both gates; 0 where there is none."""
    absolute = 10 ** ((GATE_LUFS - OFFSET_DB) / 10)
    loud = powers[powers >= absolute]
    if not len(loud):
        return 0.0
    relative = float(loud.mean()) * 10 ** (RELATIVE_GATE_DB / 10)
    loud = powers[(powers > relative) & (powers > absolute)]
    return float(loud.mean()) if len(loud) else 0.0
