"""What the ear misses first in a model's sound: its pitch, its rhythm, its attacks, its room."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from audiogen.audio.dsp import to_channels
from audiogen.audio.measure.measures import ONSET_HZ, find_events, onset_strength
from audiogen.audio.pitch import track_pitch

FRAME_SECONDS = 0.04
PERIODS_SECONDS = (0.05, 1.5)
"""Between events of a rhythm: from the blades of a helicopter to a slow clock."""
HIGH_HZ = 11_000.0
FLOOR_DB = -100.0
VOICED, LEAST_VOICED = 0.5, 10
"""Periodicity from which a frame has a pitch, and frames that tell how it moves."""
MAX_WAVER = 3.0
"""Semitones that a single frame counts at most, so that a leap is no more than a leap."""


def voicing(wav: Tensor, sample_rate: int) -> tuple[float, float | None]:
    """How periodic a sound (C, T) is, and how its pitch wavers.

    Returns:
        The share that repeats from period to period, 0 to 1, weighted by energy; and the mean
        distance of a frame's pitch from the middle of its neighbours', in semitones and at most
        `MAX_WAVER`. None where less than `LEAST_VOICED` frames are periodic, as their neighbours.
    """
    mono = to_channels(wav.float(), 1)
    hop = round(FRAME_SECONDS * sample_rate)
    mono = mono[:, : mono.shape[1] // hop * hop]
    energy = mono.reshape(-1, hop).square().mean(dim=1) if mono.shape[1] else mono[0]
    if float(energy.sum()) == 0:
        return 0.0, None
    octaves, found = (one[0] for one in track_pitch(mono, sample_rate, hop))
    periodicity = float((found * energy).sum() / energy.sum())
    is_voiced = (found > VOICED).unfold(0, 3, 1).all(dim=1) if len(found) >= 3 else found[:0] > 0
    if int(is_voiced.sum()) < LEAST_VOICED:
        return periodicity, None
    apart = 12 * (octaves[1:-1] - (octaves[2:] + octaves[:-2]) / 2).abs()
    return periodicity, float(apart[is_voiced].clamp_max(MAX_WAVER).mean())


def rhythm(wav: Tensor, sample_rate: int) -> tuple[float, float]:
    """How regular the onsets of a sound (C, T) are, and how sharp.

    Returns:
        The highest autocorrelation of the onset strength at the lags of a rhythm, 0 to 1; and the
        mean rise of the mel bands at the events within a hundredth of a second, in dB.
    """
    strength = onset_strength(to_channels(wav.float(), 1)[0], sample_rate)
    strength[0] = 0  # that a recording begins is no onset in it
    events = find_events(strength)
    sharpness = float(np.mean(strength[events])) if events else 0.0
    centred = strength - strength.mean()
    low, high = (round(seconds * ONSET_HZ) for seconds in PERIODS_SECONDS)
    energy, count = float(centred @ centred), len(centred)
    if energy < 1e-9 or count <= 2 * high:
        return 0.0, sharpness
    spectrum = np.abs(np.fft.rfft(centred, 2 * count)) ** 2
    lags = np.fft.irfft(spectrum)[: high + 1] / energy / (1 - np.arange(high + 1) / count)
    # A hop may split an onset between two frames: neighbours count together.
    smooth = np.convolve(lags, [0.5, 1.0, 0.5], mode="same") / 2
    top = smooth[low:high].max() / max(float(smooth[0] + lags[1] / 4), 1e-9)
    return float(np.clip(top, 0, 1)), sharpness


def width_db(wav: Tensor) -> float | None:
    """Energy of the side over that of the mid of a sound (2, T), in dB; None for mono."""
    if len(wav) != 2:
        return None
    left, right = wav.double()
    return _decibels(float((left - right).square().mean()), float((left + right).square().mean()))


def high_band_db(wav: Tensor, sample_rate: int) -> float | None:
    """Energy above `HIGH_HZ` over all of a sound (C, T), in dB; None where the rate has none."""
    if sample_rate <= 2 * HIGH_HZ * 1.01:
        return None
    power = torch.fft.rfft(wav.double()).abs().square().sum(dim=0)
    first = math.ceil(HIGH_HZ / sample_rate * wav.shape[1])
    return _decibels(float(power[first:].sum()), float(power.sum()))


def _decibels(part: float, whole: float) -> float:
    """Ratio of two energies, not below `FLOOR_DB`."""
    if part <= 0 or whole <= 0:
        return FLOOR_DB if part <= 0 else -FLOOR_DB
    return max(FLOOR_DB, 10 * math.log10(part / whole))
