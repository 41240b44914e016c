"""Trains of pulses: the source of a voice, whose pitch is told."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TOP_SHARE = 0.95
"""Of half the sample rate, up to where pulses have harmonics."""


def running_phase(pitch: Tensor, sample_rate: int, hop_length: int, first: Tensor) -> Tensor:
    """Phase at the middle of each frame of an oscillator that glides from pitch to pitch.

    Args:
        pitch: octaves above 1 Hz (B, L), at the middles of frames.
        sample_rate: in Hz.
        hop_length: samples per frame.
        first: phase (B,) of the first frame, in cycles.

    Returns:
        Cycles, from 0 to 1 (B, L).
    """
    turns = cycles(pitch, sample_rate, hop_length)
    between = (turns[:, 1:] + turns[:, :-1]) / 2
    phase = torch.cat([first.double()[:, None], between], dim=1).cumsum(dim=1)
    return (phase % 1).float()


def cycles(pitch: Tensor, sample_rate: int, hop_length: int) -> Tensor:
    """Cycles per frame of a pitch in octaves above 1 Hz, in float64, as they are added up."""
    return pitch.double().exp2() * (hop_length / sample_rate)


def pulses(pitch: Tensor, phase: Tensor, sample_rate: int, hop_length: int) -> Tensor:
    """A train of pulses of unit power: all harmonics below the limit, equally loud and in phase.

    Args:
        pitch: octaves above 1 Hz (B, L), at the middles of frames.
        phase: cycles there (B, L), as of `running_phase`.
        sample_rate: in Hz.
        hop_length: samples per frame.

    Returns:
        wav (B, L * hop_length).
    """
    count = pitch.shape[1]
    if count == 1:
        pitch, phase = pitch.expand(-1, 2), phase.expand(-1, 2)
    places = (torch.arange(count * hop_length, device=pitch.device).double() + 0.5) / hop_length
    frame = (places - 0.5).floor().clamp(0, pitch.shape[1] - 2).long()
    turns = cycles(pitch, sample_rate, hop_length)
    share = places - 0.5 - frame
    gone, rise = share.clamp(0, 1), turns.diff(dim=1)[:, frame]
    rate = turns[:, frame] + rise * gone  # before the first middle and behind the last it holds
    cycle = phase.double()[:, frame] + (turns[:, frame] + rate) * gone / 2 + rate * (share - gone)
    angle = (2 * math.pi * (cycle % 1)).float()
    # So many harmonics have a closed form; the next one fades in, so that none begins at once.
    limit = (TOP_SHARE * hop_length / 2) / rate.float()
    whole = limit.floor()
    half = (angle / 2).sin()
    near = half.abs() < 1e-4
    total = ((whole + 0.5) * angle).sin() / (2 * torch.where(near, 1.0, half)) - 0.5
    total = torch.where(near, whole, total) + (limit - whole) * ((whole + 1) * angle).cos()
    return total * (2 / limit).sqrt()
