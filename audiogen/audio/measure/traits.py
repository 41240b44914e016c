"""What one calls a sound besides its name: bright or dull, dense or sparse, heavy or soft.

They say nothing of loudness, which is the same for all sounds that a model learns from, and nothing
of roughness, of which a codec keeps too little.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from audiogen.audio.dsp import to_channels
from audiogen.audio.measure.measures import SILENCE, measure_some

Trait = Literal["brightness", "density", "weight"]
TRAITS: tuple[Trait, ...] = get_args(Trait)
FRAME_SECONDS = 0.02
LOW_HZ = (50.0, 300.0)
LEAST_WEIGHT_DB = -30.0
"""What is lighter is not heard to be."""


def measure_traits(wav: Tensor, sample_rate: int) -> dict[Trait, float]:
    """Measure a sound (C, T); nothing is said of silence, or of a click in it.

    Returns:
        brightness: octaves of the spectrum's centroid above 1 kHz.
        density: share of the time that is filled, in dB: 0 for what is always as loud.
        weight: energy between 50 and 300 Hz over all above 50 Hz, in dB.
    """
    if wav.shape[1] == 0:
        return {}
    mono = to_channels(wav.detach().cpu().float(), 1)
    if float(mono.abs().max()) < SILENCE:
        return {}
    hertz = measure_some(mono, sample_rate, ["brightness_hz"])["brightness_hz"]
    if hertz is None:
        return {}
    return {
        "brightness": math.log2(max(hertz, 1.0) / 1000),
        "density": _density(mono[0], sample_rate),
        "weight": _weight(mono[0], sample_rate),
    }


def _density(mono: Tensor, sample_rate: int) -> float:
    """How evenly the level is spread over the frames (participation ratio of amplitudes), dB."""
    size = max(1, min(round(FRAME_SECONDS * sample_rate), len(mono)))
    level = mono[: len(mono) // size * size].reshape(-1, size).double().square().mean(dim=1).sqrt()
    share = level.sum().square() / (len(level) * level.square().sum())
    return 10 * math.log10(float(share)) if float(level.max()) > 0 else 0.0


def _weight(mono: Tensor, sample_rate: int) -> float:
    power = torch.fft.rfft(mono.double()).abs().square()
    first, last = (round(hertz / sample_rate * len(mono)) for hertz in LOW_HZ)
    low, whole = float(power[first:last].sum()), float(power[first:].sum())
    return 10 * math.log10(max(low / whole, 10 ** (LEAST_WEIGHT_DB / 10))) if whole > 0 else 0.0
