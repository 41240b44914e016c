"""A codec's ends: levels of a sound in, and pulses and noise under one envelope out.

The network says how loud each frequency is, and how much of it is periodic; which pitch, it is
told. A phase that a network regresses from latents that hold none is lost, and with it every
harmonic, so that all becomes noise. Harmonics plus noise: Serra and Smith 1990, DDSP (Engel et al.
2020), and the pulse trains of neural source-filter models (Wang et al. 2019).

Of stereo, the middle is coded as mono is. The side is as loud as a gain says, relative to the
middle, and as like it as a correlation says: parametric stereo (Breebaart et al. 2005).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.audio.dsp import left_right, mid_side
from audiogen.audio.pitch import MIDDLE
from audiogen.audio.spectral import istft, mel_filterbank, stft
from audiogen.nn.fourier import LOG_FLOOR, QUIET, ConvNeXtStack, FourierEncoder, FourierFraming

BIAS, BALANCE = 8.0, 0.75
"""How much a measured periodicity moves the logit of the periodic share, and where it is even."""
LEVEL_HZ, LEVEL_KNEE_HZ = 0.0, 2200.0
"""Spacing of the frequencies that have a level, at least a bin; above the knee it widens."""
SPLIT_HZ, SPLIT_KNEE_HZ = 60.0, 600.0
"""The same, of those that have a periodic share."""
SIDE_HZ, SIDE_KNEE_HZ = 150.0, 750.0
"""The same, of those that have a width."""
GAIN_SECONDS = 0.003
"""Spacing of the gains that shape the waveform, about; an STFT window smears what is shorter."""
GAIN_BANDS = 4
"""Mel bands whose levels the encoder sees at that spacing."""
NARROW = -2.0
"""Log gain of the side relative to the middle that an untrained decoder starts from."""
MONO_GAIN = 0.01
"""Gain of the side (-40 dB) under which a decoded sound has none."""


@functools.lru_cache(maxsize=32)
def frequency_points(spacing: float, knee: float, n_fft: int, sample_rate: int) -> Tensor:
    """Matrix (K, n_fft // 2 + 1) that interpolates values at K frequencies, linearly, at all bins.

    The frequencies are `spacing` Hz apart up to `knee`, and above in proportion to themselves; they
    are never closer than bins.
    """
    width = sample_rate / n_fft
    places = [0.0]
    while places[-1] < n_fft // 2:
        places.append(places[-1] + max(1.0, spacing / width) * max(1.0, places[-1] * width / knee))
    # Constants are made on the CPU, and cached, even while a model is built without memory.
    with torch.device("cpu"):
        points = torch.tensor(places, dtype=torch.float64)
        bins = torch.arange(n_fft // 2 + 1)
        above = torch.searchsorted(points, bins.double(), right=True).clamp(1, len(points) - 1)
        share = (bins - points[above - 1]) / (points[above] - points[above - 1])
        matrix = torch.zeros(len(points), len(bins), dtype=torch.float64)
        matrix[above - 1, bins] = 1 - share
        matrix[above, bins] += share
        return matrix.float()


def gains_per_frame(framing: FourierFraming) -> int:
    """Gains of the waveform in a latent frame, which they divide into equal, even lengths."""
    wanted = framing.hop_length / framing.sample_rate / GAIN_SECONDS
    counts = [n for n in range(2, math.ceil(2 * wanted)) if framing.hop_length % (2 * n) == 0]
    return min(counts, key=lambda count: abs(math.log(count / wanted)), default=1)


class HarmonicEncoder(nn.Module):
    """Waveform to features at the latent rate: levels over frequency and over time, and width."""

    gain_bank: Tensor
    side_bank: Tensor

    def __init__(
        self, framing: FourierFraming, *, dim: int, depth: int, num_bands: int, out_channels: int
    ) -> None:
        """Make a stack over `num_bands` mel bands per STFT frame, and what is beside them."""
        super().__init__()
        self.framing = framing
        hop = framing.hop_length // gains_per_frame(framing)
        self.gain_framing = replace(
            framing, audio_channels=1, n_fft=(2 + hop % 2) * hop, stft_hop=hop
        )
        bank = mel_filterbank(GAIN_BANDS, self.gain_framing.n_fft, framing.sample_rate)
        self.register_buffer("gain_bank", bank, persistent=False)
        points = frequency_points(SIDE_HZ, SIDE_KNEE_HZ, framing.n_fft, framing.sample_rate)
        self.register_buffer(
            "side_bank", points / points.sum(dim=1, keepdim=True), persistent=False
        )
        beside = GAIN_BANDS * self.gain_framing.frames_per_latent
        if framing.audio_channels == 2:
            beside += 2 * len(points)
        self.levels = FourierEncoder(
            replace(framing, audio_channels=1),
            dim=dim,
            depth=depth,
            num_bands=num_bands,
            out_channels=out_channels,
            beside=beside,
        )

    @property
    def context_frames(self) -> int:
        """Latent frames on each side that one output frame depends on."""
        return self.levels.context_frames

    def forward(self, wav: Tensor) -> Tensor:
        """Map wav (B, C, L * hop_length) to (B, out_channels, L)."""
        with torch.autocast(wav.device.type, enabled=False):
            wav = wav.float()
            middle = wav.mean(dim=1, keepdim=True)
            framing = self.gain_framing
            spectrum = stft(middle, framing.n_fft, framing.stft_hop)
            beside = [framing.folded(((self.gain_bank @ spectrum.abs()) + LOG_FLOOR).log() / 3 + 2)]
            if wav.shape[1] == 2:
                beside.append(self._width(wav))
        out: Tensor = self.levels(middle, torch.cat(beside, dim=2))
        return out

    def _width(self, wav: Tensor) -> Tensor:
        """Share of the side's amplitude and correlation with the middle, in bands: (B, L, 2K)."""
        framing = self.framing
        spectra = stft(torch.stack(mid_side(wav), dim=1), framing.n_fft, framing.stft_hop)
        middle, side = spectra.unbind(1)
        powers = [one.real.square() + one.imag.square() for one in (middle, side)]
        common = middle.real * side.real + middle.imag * side.imag
        per_latent = framing.frames_per_latent
        shape = (len(wav), len(self.side_bank))
        first, second, both = (
            (self.side_bank @ one).reshape(*shape, -1, per_latent).mean(dim=3)
            for one in (*powers, common)
        )
        share = (second / (first + second + LOG_FLOOR**2)).sqrt()
        correlation = both / ((first * second).sqrt() + LOG_FLOOR**2)
        return torch.cat([share, correlation], dim=1).transpose(1, 2)


@dataclass(frozen=True, kw_only=True)
class Side:
    """What is to be heard left and right of the middle.

    Attributes:
        gain: relative to the middle (B, F, M).
        pan: of the pulses: -1 is right, 0 is the middle, 1 is left (B, F, M).
        correlation: of the noise with that of the middle, from -1 to 1 (B, F, M).
    """

    gain: Tensor
    pan: Tensor
    correlation: Tensor


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """How loud pulses and noise are, over frequency and time.

    Attributes:
        tonal: magnitudes of the pulses (B, F, M).
        noisy: magnitudes of the noise (B, F, M).
        gain: of the waveform, sample by sample (B, T).
        side: of stereo; None is mono.
    """

    tonal: Tensor
    noisy: Tensor
    gain: Tensor
    side: Side | None


class HarmonicDecoder(nn.Module):
    """Latents, pitch and periodicity to a waveform: filtered pulses and filtered noise."""

    level_points: Tensor
    split_points: Tensor
    side_points: Tensor

    def __init__(self, framing: FourierFraming, *, dim: int, depth: int, in_channels: int) -> None:
        """Make a stack over latent frames of `in_channels`, pitch and periodicity not counted."""
        super().__init__()
        self.framing = framing
        self.stack = ConvNeXtStack(in_channels + 2, dim, depth)
        n_fft, rate = framing.n_fft, framing.sample_rate
        counts = []
        for name, spacing, knee in (
            ("level", LEVEL_HZ, LEVEL_KNEE_HZ),
            ("split", SPLIT_HZ, SPLIT_KNEE_HZ),
            ("side", SIDE_HZ, SIDE_KNEE_HZ),
        ):
            points = frequency_points(spacing, knee, n_fft, rate)
            self.register_buffer(f"{name}_points", points, persistent=False)
            counts.append(len(points))
        levels, splits, sides = counts
        per_latent = framing.frames_per_latent
        self.sizes = [per_latent * levels, per_latent * splits, gains_per_frame(framing)]
        if framing.audio_channels == 2:
            self.sizes.append(3 * sides)
        self.head = nn.Linear(dim, sum(self.sizes))

    @property
    def context_frames(self) -> int:
        """Latent frames on each side that one output frame depends on."""
        return self.stack.context_frames + self.framing.window_frames + 1

    def envelope(self, latents: Tensor, pitch: Tensor, periodicity: Tensor) -> Envelope:
        """What the network makes of latents.

        Args:
            latents: (B, D, L).
            pitch: octaves above 1 Hz (B, L).
            periodicity: from 0 to 1 (B, L).
        """
        framing = self.framing
        told = torch.stack([pitch - MIDDLE, 3 * (periodicity - 0.5)], dim=1)
        hidden = self.stack(torch.cat([latents, told.to(latents.dtype)], dim=1).transpose(1, 2))
        raw = self.head(hidden)
        with torch.autocast(raw.device.type, enabled=False):
            level, split, gain, *side = raw.float().split(self.sizes, dim=2)
            level = self._at_bins(level, self.level_points)
            split = self._at_bins(split, self.split_points)
            per_frame = F.interpolate(
                periodicity.float()[:, None], scale_factor=framing.frames_per_latent, mode="linear"
            )
            split = split + BIAS * (per_frame - BALANCE)
            level = (level + QUIET).clamp(max=5)
            tonal, noisy = ((level + 0.5 * F.logsigmoid(part)).exp() for part in (split, -split))
            num_samples = raw.shape[1] * framing.hop_length
            gain = F.interpolate(gain.flatten(1)[:, None], size=num_samples, mode="linear")[:, 0]
            return Envelope(
                tonal=tonal,
                noisy=noisy,
                gain=gain.clamp(-7, 3).exp(),
                side=self._side(side[0]) if side else None,
            )

    def _at_bins(self, values: Tensor, points: Tensor) -> Tensor:
        """Values (B, L, frames * K) of each STFT frame at all bins (B, F, M)."""
        num_frames = values.shape[1] * self.framing.frames_per_latent
        return (values.reshape(len(values), num_frames, -1) @ points).transpose(1, 2)

    def _side(self, raw: Tensor) -> Side:
        """The side of raw values (B, L, 3K), which change slowly."""
        values = F.interpolate(
            raw.transpose(1, 2), scale_factor=self.framing.frames_per_latent, mode="linear"
        )
        gain, pan, correlation = values.chunk(3, dim=1)
        gain = (gain + NARROW).clamp(max=2).exp()
        if not self.training:
            gain = gain * (gain >= MONO_GAIN)
        shaped = (gain, pan.tanh(), correlation.tanh())
        gain, pan, correlation = (self.side_points.T @ one for one in shaped)
        return Side(gain=gain, pan=pan, correlation=correlation)

    def synthesise(self, envelope: Envelope, train: Tensor, noise: Tensor, wide: Tensor) -> Tensor:
        """Waveform (B, C, T) of an envelope, which is multiplied with the spectra of its sources.

        Args:
            envelope: how loud they are.
            train: of pulses (B, T).
            noise: white (B, C, T).
            wide: which items have a side (B,); it costs nothing where they have none.
        """
        n_fft, hop = self.framing.n_fft, self.framing.stft_hop
        tonal = envelope.tonal * stft(train, n_fft, hop)
        noisy = envelope.noisy * stft(noise[:, 0], n_fft, hop)
        middle = istft(tonal + noisy, n_fft, hop) * envelope.gain
        side = envelope.side
        if side is None:
            return middle[:, None]
        here = wide.nonzero()[:, 0]
        if not len(here):
            return middle[:, None].expand(-1, 2, -1)
        own = envelope.noisy[here] * stft(noise[here, 1], n_fft, hop)
        like = side.correlation[here]
        grain = like * noisy[here] + (1 - like.square()).clamp_min(0).sqrt() * own
        spectrum = side.gain[here] * (side.pan[here] * tonal[here] + grain)
        found = istft(spectrum, n_fft, hop) * envelope.gain[here]
        return left_right(middle, torch.zeros_like(middle).index_copy(0, here, found))
