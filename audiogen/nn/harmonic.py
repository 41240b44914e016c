"""A decoder of pulses and noise under one envelope: the source and filter of a voice.

The network says how loud each bin is, and how much of it is periodic; which pitch, it is told. A
phase that a network regresses from latents that hold none is lost, and with it every harmonic, so
that all becomes noise. Harmonics plus noise: Serra and Smith 1990, DDSP (Engel et al. 2020), and
the pulse trains of neural source-filter models (Wang et al. 2019).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.audio.pitch import MIDDLE
from audiogen.audio.spectral import istft, stft
from audiogen.nn.fourier import QUIET, ConvNeXtStack, FourierFraming

TOP_SHARE = 0.95
"""Of half the sample rate, up to where pulses have harmonics."""
BIAS, BALANCE = 8.0, 0.75
"""How much a measured periodicity moves the logit of the periodic share, and where it is even."""


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


class HarmonicDecoder(nn.Module):
    """Latents, pitch and periodicity to a waveform: filtered pulses and filtered noise."""

    def __init__(self, framing: FourierFraming, *, dim: int, depth: int, in_channels: int) -> None:
        """Make a stack over latent frames of `in_channels`, pitch and periodicity not counted."""
        super().__init__()
        self.framing = framing
        self.stack = ConvNeXtStack(in_channels + 2, dim, depth)
        per_frame = 2 * (framing.n_fft // 2 + 1)
        self.head = nn.Linear(dim, framing.audio_channels * framing.frames_per_latent * per_frame)

    @property
    def context_frames(self) -> int:
        """Latent frames on each side that one output frame depends on."""
        return self.stack.context_frames + self.framing.window_frames + 1

    def magnitudes(self, latents: Tensor, pitch: Tensor, periodicity: Tensor) -> list[Tensor]:
        """Magnitudes of pulses and of noise, each (B, C, F, M).

        Args:
            latents: (B, D, L).
            pitch: octaves above 1 Hz (B, L).
            periodicity: from 0 to 1 (B, L).
        """
        framing = self.framing
        told = torch.stack([pitch - MIDDLE, 3 * (periodicity - 0.5)], dim=1)
        hidden = self.stack(torch.cat([latents, told.to(latents.dtype)], dim=1).transpose(1, 2))
        raw = self.head(hidden).float()
        batch, num_latents, _ = raw.shape
        raw = raw.reshape(batch, num_latents, framing.audio_channels, framing.frames_per_latent, -1)
        level, split = raw.permute(0, 2, 4, 1, 3).flatten(3).chunk(2, dim=2)
        per_frame = F.interpolate(
            periodicity.float()[:, None], scale_factor=framing.frames_per_latent, mode="linear"
        )
        split = split + BIAS * (per_frame[:, None] - BALANCE)
        level = (level + QUIET).clamp(max=5)
        return [(level + 0.5 * F.logsigmoid(part)).exp() for part in (split, -split)]

    def synthesise(self, magnitudes: list[Tensor], train: Tensor, noise: Tensor) -> Tensor:
        """Waveform (B, C, T) of magnitudes, a train of pulses (B, T) and white noise (B, C, T)."""
        framing = self.framing
        tonal, noisy = magnitudes
        spectra = [stft(wav, framing.n_fft, framing.stft_hop) for wav in (train[:, None], noise)]
        return istft(tonal * spectra[0] + noisy * spectra[1], framing.n_fft, framing.stft_hop)
