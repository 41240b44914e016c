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

from audiogen.audio.spectral import imdct, istft, mdct, mel_filterbank, stft

LOG_FLOOR = 1e-5
KERNEL = 7
QUIET = -4.0
"""Log magnitude, in nats, that an untrained decoder starts from."""
QUIET_WAVE = -2.0
"""Log gain of the waveform's straight path that an untrained decoder starts from."""
SHAPE_FLOOR = 1e-4
"""RMS of MDCT coefficients (-80 dBFS of white noise) below which a shape gets quieter too."""


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

    def folded(self, features: Tensor) -> Tensor:
        """Put those of STFT frames (B, C, K, M) into latent frames (B, L, C * frames * K)."""
        parted = features.reshape(*features.shape[:3], -1, self.frames_per_latent)
        return parted.permute(0, 3, 1, 4, 2).flatten(2)


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
        # In one order: else torch takes another product for weights that have gradients, so that a
        # codec gives other last digits once it has been saved and loaded.
        x = self.embed(x.contiguous())
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.norm(x)
        return y


class FourierEncoder(nn.Module):
    """Waveform to features at the latent rate, by log mel magnitudes of STFT frames.

    Magnitudes say how a texture sounds, not where its waveform is: that is for `WavePath`.
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
        beside: int = 0,
    ) -> None:
        """Make a stack over `num_bands` mel bands per STFT frame, and `beside` more features."""
        super().__init__()
        self.framing = framing
        bank = mel_filterbank(num_bands, framing.n_fft, framing.sample_rate)
        self.register_buffer("bank", bank, persistent=False)
        in_dim = framing.audio_channels * framing.frames_per_latent * num_bands
        self.stack = ConvNeXtStack(in_dim + beside, dim, depth)
        self.head = nn.Linear(dim, out_channels)

    @property
    def context_frames(self) -> int:
        """Latent frames on each side that one output frame depends on."""
        return self.stack.context_frames + self.framing.window_frames

    def forward(self, wav: Tensor, beside: Tensor | None = None) -> Tensor:
        """Map wav (B, C, L * hop_length), and features (B, L, beside), to (B, out_channels, L)."""
        spectrum = stft(wav, self.framing.n_fft, self.framing.stft_hop)  # (B, C, F, M)
        with torch.autocast(wav.device.type, enabled=False):
            bands = self.bank @ spectrum.abs()
            features = (bands + LOG_FLOOR).log() / 3 + 2  # about zero mean, unit variance
        folded = self.framing.folded(features)
        if beside is not None:
            folded = torch.cat([folded, beside], dim=2)
        out: Tensor = self.head(self.stack(folded)).transpose(1, 2)
        return out


class FourierDecoder(nn.Module):
    """Latents to waveform: a spectrum of learnt magnitude and phase, plus shaped noise.

    The noise part has its own magnitudes and multiplies the STFT of white noise, so
    that the grain of rain or wind needs no phase from the network (the filtered noise of DDSP,
    Engel et al. 2020, and RAVE, Caillon and Esling 2021).
    """

    def __init__(self, framing: FourierFraming, *, dim: int, depth: int, in_channels: int) -> None:
        """Make a stack over latent frames of `in_channels`."""
        super().__init__()
        self.framing = framing
        self.stack = ConvNeXtStack(in_channels, dim, depth)
        per_frame = 3 * (framing.n_fft // 2 + 1)
        self.head = nn.Linear(dim, framing.audio_channels * framing.frames_per_latent * per_frame)

    @property
    def context_frames(self) -> int:
        """Latent frames on each side that one output frame depends on."""
        return self.stack.context_frames + self.framing.window_frames

    def hidden(self, latents: Tensor) -> Tensor:
        """What the stack makes of latents (B, D, L): (B, L, dim)."""
        out: Tensor = self.stack(latents.transpose(1, 2))
        return out

    def noise_spectrum(self, noise: Tensor) -> Tensor:
        """STFT (B, C, F, M) of white noise (B, C, T), in the decoder's framing."""
        return stft(noise, self.framing.n_fft, self.framing.stft_hop)

    def spectra(self, hidden: Tensor, prior: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Complex tonal spectrum (B, C, F, M) and noise magnitudes (B, C, F, M).

        Args:
            hidden: what `hidden` makes of latents (B, L, dim).
            prior: log magnitudes (B, C, F, M), in nats, that the learnt ones are relative to; None
                is `QUIET` everywhere.
        """
        framing, level = self.framing, QUIET if prior is None else prior.float()
        raw = self.head(hidden).float()
        batch, num_latents, _ = raw.shape
        raw = raw.reshape(batch, num_latents, framing.audio_channels, framing.frames_per_latent, -1)
        raw = raw.permute(0, 2, 4, 1, 3).flatten(3)  # (B, C, 3F, M)
        magnitude, phase, noise = raw.chunk(3, dim=2)
        tonal = torch.polar((magnitude + level).clamp(max=5).exp(), phase)
        return tonal, (noise + level).clamp(max=5).exp()

    def synthesise(self, spectra: tuple[Tensor, Tensor], noise: Tensor) -> Tensor:
        """Waveform (B, C, T) of `spectra` with the STFT of white noise (B, C, F, M)."""
        tonal, magnitude = spectra
        return istft(tonal + magnitude * noise, self.framing.n_fft, self.framing.stft_hop)


class WavePath(nn.Module):
    """A straight way for the waveform of the lowest frequencies, past the encoder's network.

    A network that is shown phases learns late, or never, to tell the decoder where a wave is. Here
    the lowest MDCT coefficients of each latent frame, divided by their loudness, go into the
    latents and out of them by one matrix each, which begin as the identity; how loud each of them
    is, the decoder says. A quantiser then finds a shape by its direction, and codes its gain apart,
    as those of speech do (Sabin and Gray 1984).
    """

    def __init__(
        self,
        framing: FourierFraming,
        *,
        num_bins: int,
        encoder_channels: int,
        decoder_channels: int,
        dim: int,
    ) -> None:
        """Make the matrices, for `num_bins` coefficients per latent frame and audio channel.

        The encoder's latent frames may have other channels than the decoder's, of whose stack `dim`
        is the width.
        """
        super().__init__()
        self.hop_length, self.num_bins = framing.hop_length, num_bins
        width = framing.audio_channels * num_bins
        self.encoder = nn.Linear(width, encoder_channels, bias=False)
        self.decoder = nn.Linear(decoder_channels, width, bias=False)
        self.gain = nn.Linear(dim, width)
        nn.init.eye_(self.encoder.weight)
        nn.init.eye_(self.decoder.weight)
        nn.init.constant_(self.gain.bias, QUIET_WAVE)

    def encode(self, wav: Tensor) -> Tensor:
        """Map wav (B, C, L * hop_length) to what is added to the latents, (B, D, L)."""
        with torch.autocast(wav.device.type, enabled=False):
            shape = mdct(wav, self.hop_length, self.num_bins)
            power = shape.square().mean(dim=2, keepdim=True)
            shape = shape * (power + SHAPE_FLOOR**2).rsqrt()
        out: Tensor = self.encoder(shape.flatten(1, 2).transpose(1, 2).contiguous())
        return out.transpose(1, 2)

    def decode(self, latents: Tensor, hidden: Tensor) -> Tensor:
        """Waveform (B, C, T) of latents (B, D, L) and the decoder's hidden (B, L, dim)."""
        shape, gain = self.decoder(latents.transpose(1, 2).contiguous()), self.gain(hidden)
        with torch.autocast(latents.device.type, enabled=False):
            coefficients = (shape.float() * gain.float().clamp(max=5).exp()).transpose(1, 2)
            return imdct(coefficients.unflatten(1, (-1, self.num_bins)), self.hop_length)
