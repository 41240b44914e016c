"""A small harmonic trunk, and voices of a known pitch for it."""

import math

import torch
from torch import Tensor

RATE, HOP = 16000, 256
TRUNK = {
    "type": "harmonic",
    "n_fft": 512,
    "stft_hop": 128,
    "num_bands": 16,
    "encoder_dim": 24,
    "encoder_depth": 2,
    "decoder_dim": 24,
    "decoder_depth": 2,
}


def voice(hertz: Tensor, rate: int = RATE) -> Tensor:
    """A sound (1, T) of five harmonics whose pitch is `hertz` (T,)."""
    phase = 2 * math.pi * (hertz.double() / rate).cumsum(dim=0)
    return 0.1 * sum(((k * phase).sin() / k for k in range(2, 6)), phase.sin()).float()[None]


def steady(hertz: float, frames: int = 40, rate: int = RATE, hop: int = HOP) -> Tensor:
    """A voice (1, frames * hop) of one pitch."""
    return voice(torch.full((frames * hop,), hertz), rate)
