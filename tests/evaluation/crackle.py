"""A class of sounds that tests tell apart: bursts of noise."""

import numpy as np
import torch
from torch import Tensor

RATE = 16_000


def crackle(seed: int, seconds: float = 4.0) -> Tensor:
    """Random bursts of coloured noise: one class, each seed another recording."""
    rng = np.random.default_rng(seed)
    num = round(seconds * RATE)
    wav = 0.01 * rng.standard_normal(num)
    for _ in range(round(12 * seconds)):
        length = int(rng.integers(400, 4000))
        start = int(rng.integers(0, num - length))
        tone = np.sin(2 * np.pi * rng.uniform(200, 6000) * np.arange(length) / RATE)
        burst = tone + 0.3 * rng.standard_normal(length)
        wav[start : start + length] += rng.uniform(0.1, 0.6) * burst * np.hanning(length)
    return torch.from_numpy(wav / np.abs(wav).max()).float()[None]
