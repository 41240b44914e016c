"""The codecs' trunk: STFT frames in, ConvNeXt blocks at the latent rate, inverse STFT out.

The idea of Vocos (Siuzdak 2023, arXiv 2306.00814): all learnt layers work at the low frame rate,
and the Fourier transform does the upsampling. `hop_length // stft_hop` STFT frames are folded into
the channels of one latent frame, so that time resolution does not depend on the latent rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from audiogen.audio.spectral import istft, mel_filterbank, stft

LOG_FLOOR = 1e-5
KERNEL = 7
QUIET = -4.0
"""Log magnitude, in nats, that an untrained decoder starts from."""


@dataclass(frozen=True, kw_only=True)
class FourierFraming:
    """How samples, STFT frames and latent frames relate.

    Attributes:
        sample_rate: Hz.
        audio_channels: C.
        n_fft: STFT window in samples.
        stft_hop: samples between STFT frames.
        hop_length: samples per latent frame, a multiple of `stft_hop`.
    """

    sample_rate: int
    audio_channels: int
    n_fft: int
    stft_hop: int
    hop_length: int

    @property
    def frames_per_latent(self) -> int:
        """STFT frames folded into one latent frame."""
        return self.hop_length // self.stft_hop

    @property
    def window_frames(self) -> int:
        """Latent frames that half an STFT window reaches over."""
        return math.ceil(self.n_fft / self.hop_length)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time and an MLP over channels (Liu et al. 2022)."""

    def __init__(self, dim: int, expansion: int = 3) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(dim, dim, KERNEL, padding=KERNEL // 2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, expansion * dim)
        self.project = nn.Linear(expansion * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, dim) to (B, L, dim)."""
        y = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        y = self.project(nn.functional.gelu(self.expand(self.norm(y))))
        out: Tensor = x + self.scale * y
        return out


class ConvNeXtStack(nn.Module):
    """Linear in, `depth` ConvNeXt blocks, norm: (B, L, in_dim) -> (B, L, dim)."""

    def __init__(self, in_dim: int, dim: int, depth: int) -> None:
        super().__init__()
        self.embed = nn.Linear(in_dim, dim)
        self.blocks = nn.ModuleList(ConvNeXtBlock(dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    @property
    def context_frames(self) -> int:
        """Frames on each side that one output frame can see."""
        return len(self.blocks) * (KERNEL // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, in_dim) to (B, L, dim)."""
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.norm(x)
        return y


class FourierEncoder(nn.Module):
    """Waveform to features at the latent rate, by log mel magnitudes of STFT frames.

    Magnitudes say how a texture sounds, not where its waveform is. With `phase_bins` the stack also
    sees the complex values of the lowest bins, where most of the energy is.
    """

    bank: Tensor

    def __init__(
        self,
        framing: FourierFraming,
        *,
        dim: int,
        depth: int,
        num_bands: int,
        out_channels: int,
        phase_bins: int = 0,
    ) -> None:
        """Make the network.

        Args:
            framing: how samples, STFT frames and latent frames relate.
            dim: of the stack.
            depth: of the stack.
            num_bands: mel bands per STFT frame.
            out_channels: of a latent frame.
            phase_bins: lowest bins per STFT frame that are seen as complex numbers too.
        """
        super().__init__()
        self.framing, self.phase_bins = framing, phase_bins
        bank = mel_filterbank(num_bands, framing.n_fft, framing.sample_rate)
        self.register_buffer("bank", bank, persistent=False)
        per_frame = num_bands + 2 * phase_bins
        in_dim = framing.audio_channels * framing.frames_per_latent * per_frame
        self.stack = ConvNeXtStack(in_dim, dim, depth)
        self.head = nn.Linear(dim, out_channels)

    @property
    def context_frames(self) -> int:
        """Latent frames on each side that one output frame depends on."""
        return self.stack.context_frames + self.framing.window_frames

    def forward(self, wav: Tensor) -> Tensor:
        """Map wav (B, C, L * hop_length) to (B, out_channels, L)."""
        spectrum = stft(wav, self.framing.n_fft, self.framing.stft_hop)  # (B, C, F, M)
        with torch.autocast(wav.device.type, enabled=False):
            bands = self.bank @ spectrum.abs()
            features = (bands + LOG_FLOOR).log() / 3 + 2  # about zero mean, unit variance
            if self.phase_bins:
                lowest = _compressed(spectrum[:, :, : self.phase_bins])
                features = torch.cat([features, lowest.real, lowest.imag], dim=2)
        batch, channels, per_frame, num_frames = features.shape
        per_latent = self.framing.frames_per_latent
        folded = features.reshape(batch, channels, per_frame, num_frames // per_latent, per_latent)
        folded = folded.permute(0, 3, 1, 4, 2).flatten(2)  # (B, L, C * per_latent * per_frame)
        out: Tensor = self.head(self.stack(folded)).transpose(1, 2)
        return out


def _compressed(spectrum: Tensor) -> Tensor:
    """Compress complex magnitudes to their power of 0.3, so that quiet bins count too."""
    power = spectrum.real.square() + spectrum.imag.square()
    return spectrum * (power + 1e-8).pow(-0.35)


class FourierDecoder(nn.Module):
    """Latents to waveform: a spectrum of learnt magnitude and phase, plus shaped noise.

    The noise part has its own magnitudes and multiplies the STFT of white noise, so
    that the grain of rain or wind needs no phase from the network (the filtered noise of DDSP,
    Engel et al. 2020, and RAVE, Caillon and Esling 2021). A phase as an angle is hard to learn from
    a waveform: the `phase_bins` lowest bins are given theirs as a real and an imaginary part, which
    the magnitude multiplies, so that there is a nearly linear way from the encoder's.
    """

    def __init__(
        self,
        framing: FourierFraming,
        *,
        dim: int,
        depth: int,
        in_channels: int,
        phase_bins: int = 0,
    ) -> None:
        """Make the network.

        Args:
            framing: how samples, STFT frames and latent frames relate.
            dim: of the stack.
            depth: of the stack.
            in_channels: of a latent frame.
            phase_bins: lowest bins per STFT frame whose phase is two numbers instead of an angle.
        """
        super().__init__()
        self.framing, self.phase_bins = framing, phase_bins
        self.stack = ConvNeXtStack(in_channels, dim, depth)
        per_frame = 3 * (framing.n_fft // 2 + 1) + phase_bins
        self.head = nn.Linear(dim, framing.audio_channels * framing.frames_per_latent * per_frame)

    @property
    def context_frames(self) -> int:
        """Latent frames on each side that one output frame depends on."""
        return self.stack.context_frames + self.framing.window_frames

    def forward(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Decode latents.

        Args:
            latents: (B, D, L).
            noise: white noise of unit variance, (B, C, L * hop_length).

        Returns:
            wav (B, C, L * hop_length), unbounded.
        """
        return self.synthesise(self.spectra(latents), self.noise_spectrum(noise))

    def noise_spectrum(self, noise: Tensor) -> Tensor:
        """STFT (B, C, F, M) of white noise (B, C, T), in the decoder's framing."""
        return stft(noise, self.framing.n_fft, self.framing.stft_hop)

    def spectra(self, latents: Tensor, prior: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Complex tonal spectrum (B, C, F, M) and noise magnitudes (B, C, F, M).

        Args:
            latents: (B, D, L).
            prior: log magnitudes (B, C, F, M), in nats, that the learnt ones are relative to; None
                is `QUIET` everywhere.
        """
        raw = self.head(self.stack(latents.transpose(1, 2))).float()
        with torch.autocast(latents.device.type, enabled=False):
            return self._split(raw, QUIET if prior is None else prior.float())

    def _split(self, raw: Tensor, prior: Tensor | float) -> tuple[Tensor, Tensor]:
        """Unfold the head's output (B, L, channels) into `spectra`."""
        batch, num_latents, _ = raw.shape
        framing = self.framing
        raw = raw.reshape(batch, num_latents, framing.audio_channels, framing.frames_per_latent, -1)
        raw = raw.permute(0, 2, 4, 1, 3).flatten(3)  # (B, C, 3F + phase_bins, M)
        num_bins, low = framing.n_fft // 2 + 1, self.phase_bins
        sizes = [num_bins, num_bins, num_bins, low]
        magnitude, phase, noise, imaginary = torch.split(raw, sizes, dim=2)
        magnitude = (magnitude + prior).clamp(max=5).exp()
        tonal = torch.polar(magnitude[:, :, low:], phase[:, :, low:])
        if low:
            lowest = magnitude[:, :, :low] * torch.complex(phase[:, :, :low], imaginary)
            tonal = torch.cat([lowest, tonal], dim=2)
        return tonal, (noise + prior).clamp(max=5).exp()

    def synthesise(self, spectra: tuple[Tensor, Tensor], noise: Tensor) -> Tensor:
        """Waveform (B, C, T) of `spectra` with the STFT of white noise (B, C, F, M)."""
        tonal, magnitude = spectra
        spectrum = tonal + magnitude * noise
        wav = istft(spectrum.flatten(0, 1), self.framing.n_fft, self.framing.stft_hop)
        return wav.reshape(*spectrum.shape[:2], -1)
