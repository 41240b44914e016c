"""Log-mel latents and a vocoder: the Fourier decoder, or Griffin-Lim without training."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from audiogen.audio.spectral import istft, mel_filterbank, stft
from audiogen.codecs.base import CodecOutput
from audiogen.codecs.config import CodecConfig
from audiogen.codecs.continuous import ContinuousCodec
from audiogen.codecs.losses import multi_resolution_loss
from audiogen.nn.chance import randn
from audiogen.nn.fourier import FourierDecoder, FourierFraming

FLOOR = 1e-4
"""Unit-energy magnitude (-80 dBFS of white noise) that counts as silence."""
TINY = 1e-8
"""Magnitude that stands for none in logarithms."""
BIN_STEPS = 10
"""Updates of the least squares that turn bands into bins."""
MOMENTUM = 0.99
GRIFFIN_LIM_STEPS = 32
"""Iterations of Griffin-Lim where nothing is trained."""
MOST = 3.0
"""Largest gain of one correction, in nats."""


class MelConfig(CodecConfig):
    """Log-mel latents, one frame each, and what turns them back into sound."""

    type: Literal["mel"] = "mel"
    hop_length: int = Field(default=512, gt=0)
    n_fft: int = Field(default=2048, gt=0)
    """Window of the mel frames in samples; an even multiple of `hop_length`, so that frames
    overlap."""
    num_bands: int = Field(default=80, ge=2)
    """Mel bands of each audio channel."""
    vocoder: Literal["fourier", "griffin_lim"] = "fourier"
    """fourier is trained; griffin_lim needs no training, is slow and sounds worse."""
    vocoder_n_fft: int = Field(default=1024, gt=0)
    """STFT window of the fourier vocoder in samples; a multiple of `stft_hop`."""
    stft_hop: int = Field(default=256, gt=0)
    """Samples between STFT frames of the fourier vocoder; a divisor of `hop_length`."""
    decoder_dim: int = Field(default=256, gt=0)
    decoder_depth: int = Field(default=6, gt=0)
    num_projections: int = Field(default=4, ge=1)
    """How often the fourier vocoder makes its phases fit its magnitudes."""
    num_corrections: int = Field(default=4, ge=0)
    """How often it then measures the bands of what it made, and mends them."""
    multi_resolution_weight: float = Field(default=4.0, ge=0)
    """Weight of `multi_resolution_loss` in its training."""

    @model_validator(mode="after")
    def _frames_fit(self) -> MelConfig:
        if self.n_fft % (2 * self.hop_length):
            raise ValueError(
                f"n_fft={self.n_fft} must be an even multiple of hop_length={self.hop_length}"
            )
        hop = self.stft_hop
        if hop % 2 or self.hop_length % hop or self.vocoder_n_fft % hop:
            raise ValueError(
                f"stft_hop={hop} must be even, and hop_length={self.hop_length} and"
                f" vocoder_n_fft={self.vocoder_n_fft} multiples of it"
            )
        return self


class MelCodec(ContinuousCodec):
    """Encodes without parameters; the fourier vocoder is trained, Griffin-Lim is not.

    The vocoder's magnitudes start from those that the bands tell, so that it learns phases, fine
    structure and how tonal each bin is, and stays silent where the bands are.

    >>> codec = MelCodec(MelConfig(decoder_dim=16, decoder_depth=1))
    >>> codec.encode(torch.zeros(1, 1, 22050)).shape  # 80 bands, a frame for 512 samples
    torch.Size([1, 80, 44])
    """

    bank: Tensor
    spread: Tensor

    config: MelConfig

    def __init__(self, config: MelConfig) -> None:
        super().__init__(config, config.audio_channels * config.num_bands)
        bank = mel_filterbank(config.num_bands, config.n_fft, config.sample_rate)
        self.register_buffer("bank", bank, persistent=False)
        self.register_buffer("spread", _spread(bank), persistent=False)
        self.encode_context = config.n_fft // config.hop_length
        self.trainable = config.vocoder == "fourier"
        self.decode_context = None
        if self.trainable:
            self.decoder = FourierDecoder(
                FourierFraming(
                    sample_rate=config.sample_rate,
                    audio_channels=config.audio_channels,
                    n_fft=config.vocoder_n_fft,
                    stft_hop=config.stft_hop,
                    hop_length=config.hop_length,
                ),
                dim=config.decoder_dim,
                depth=config.decoder_depth,
                in_channels=self.spec.channels,
            )
            self._begin_with_noise()
            reach = config.num_projections * config.vocoder_n_fft
            reach += config.num_corrections * config.n_fft
            # One more, since the prior of a frame sees its neighbours.
            self.decode_context = (
                self.decoder.context_frames + 1 + math.ceil(reach / config.hop_length)
            )

    @torch.no_grad()
    def _begin_with_noise(self) -> None:
        """Let the untrained decoder be noise in the prior's magnitudes, almost."""
        head, framing = self.decoder.head, self.decoder.framing
        head.weight.mul_(0.1)
        head.bias.mul_(0.1)
        frames = framing.audio_channels * framing.frames_per_latent
        head.bias.reshape(frames, 3, -1)[:, 0] -= 2  # the tonal part

    def log_bands(self, wav: Tensor) -> Tensor:
        """Log mel magnitudes (B, C * num_bands, L), in nats, of wav (B, C, L * hop_length)."""
        with torch.autocast(wav.device.type, enabled=False):
            spectrum = stft(wav, self.config.n_fft, self.config.hop_length)
            return (self.bank @ spectrum.abs() + FLOOR).log().flatten(1, 2)

    def encode_chunk(self, wav: Tensor) -> Tensor:
        """Encode wav (B, C, L * hop_length) as scaled log bands (B, D, L)."""
        return self.scaled(self.log_bands(wav))

    def decode_chunk(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Decode scaled latents (B, D, L) to wav (B, C, L * hop_length)."""
        log_bands = self.unscaled(latents)
        if not self.trainable:
            return self._griffin_lim(log_bands, noise)
        return self._sound(log_bands, noise)

    def forward(self, wav: Tensor) -> CodecOutput:
        """Decode the log bands of wav (B, C, T), T a multiple of `hop_length`.

        There is one reconstruction: bands leave little open, so that the distance to the recording
        itself is asked for, as other vocoders do (Siuzdak 2023).
        """
        log_bands = self.log_bands(wav)
        sound = self._sound(log_bands, randn(wav.shape, wav.device))
        with torch.autocast(wav.device.type, enabled=False):
            loss = self.config.multi_resolution_weight * multi_resolution_loss(wav, sound)
        return CodecOutput(reconstructions=[sound], losses={"multi_resolution": loss})

    def _spectra(self, log_bands: Tensor) -> tuple[Tensor, Tensor]:
        """The decoder's spectra for unscaled latents (B, C * num_bands, L)."""
        features = log_bands / 3 + 2  # about zero mean, unit variance
        with torch.autocast(log_bands.device.type, enabled=False), torch.no_grad():
            prior = self._prior(log_bands)
        return self.decoder.spectra(self.decoder.hidden(features), prior)

    def _prior(self, log_bands: Tensor) -> Tensor:
        """Log magnitudes (B, C, F, M) of the vocoder's STFT that the bands (B, D, L) tell."""
        num_bins = self.config.vocoder_n_fft // 2 + 1
        num_frames = log_bands.shape[2] * self.decoder.framing.frames_per_latent
        logs = self._bins(log_bands).log()
        logs = F.interpolate(
            logs, size=(num_bins, logs.shape[3]), mode="bilinear", align_corners=True
        )
        logs = F.interpolate(logs, size=(num_bins, num_frames), mode="bilinear")
        return logs - math.log(2)  # the tonal and the noise part share it

    def _bins(self, log_bands: Tensor) -> Tensor:
        """Magnitudes (B, C, n_fft // 2 + 1, L), at least `TINY`, whose bands are nearest.

        Non-negative least squares by the multiplicative updates of Lee and Seung 2001 (eq. 4) with
        the bank held fixed.
        """
        bands = (self._by_channel(log_bands).float().exp() - FLOOR).clamp_min(TINY)
        wanted = self.bank.T @ bands
        found = wanted
        for _ in range(BIN_STEPS):
            found = found * (wanted / (self.bank.T @ (self.bank @ found)).clamp_min(TINY))
        return found.clamp_min(TINY)

    def _sound(self, log_bands: Tensor, noise: Tensor) -> Tensor:
        """Wav (B, C, T) of the decoder's spectra, refined to have the magnitudes that it should.

        Magnitudes are those of both spectra, and phases begin as those of their sum. A few
        steps of fast Griffin-Lim are part of the network, as in Masuyama et al. 2019: what is
        trained is how good the result is.
        """
        tonal, shaped = self._spectra(log_bands)
        phases = torch.sgn(self.decoder.noise_spectrum(noise))
        with torch.autocast(noise.device.type, enabled=False):
            wav = _fitted(
                tonal + shaped * phases,
                tonal.abs() + shaped,
                self.config.vocoder_n_fft,
                self.config.stft_hop,
                self.config.num_projections,
            )
            for _ in range(self.config.num_corrections):
                wav = self._corrected(wav, self._by_channel(log_bands).float())
        return wav

    def _corrected(self, wav: Tensor, log_bands: Tensor) -> Tensor:
        """Turn up what is too quiet in wav (B, C, T) and down what is too loud for the bands."""
        n_fft, hop = self.config.n_fft, self.config.hop_length
        spectrum = stft(wav, n_fft, hop)
        power = spectrum.real.square() + spectrum.imag.square()
        found = self.bank @ (power + TINY**2).sqrt()
        gain = (self.spread @ (log_bands - (found + FLOOR).log())).clamp(-MOST, MOST).exp()
        return istft(spectrum * gain, n_fft, hop)

    def untrained(self) -> MelCodec | None:
        """Return a codec of the same latents that decodes by Griffin-Lim; None for itself one."""
        if not self.trainable:
            return None
        other = MelCodec(self.config.model_copy(update={"vocoder": "griffin_lim"}))
        other.latent_mean.copy_(self.latent_mean)
        other.latent_std.copy_(self.latent_std)
        return other.to(self.device).eval()

    def _griffin_lim(self, log_bands: Tensor, noise: Tensor) -> Tensor:
        """Wav (B, C, T) without the decoder; its phases start from those of the noise."""
        n_fft, hop = self.config.n_fft, self.config.hop_length
        with torch.autocast(noise.device.type, enabled=False):
            start = stft(noise, n_fft, hop)
            return _fitted(start, self._bins(log_bands), n_fft, hop, GRIFFIN_LIM_STEPS)

    def _by_channel(self, bands: Tensor) -> Tensor:
        """Unstack (B, C * num_bands, L) to (B, C, num_bands, L)."""
        channels, num_bands = self.config.audio_channels, self.config.num_bands
        return bands.reshape(bands.shape[0], channels, num_bands, bands.shape[2])


def _fitted(
    spectrum: Tensor, magnitudes: Tensor, n_fft: int, hop_length: int, steps: int
) -> Tensor:
    """Wav (B, C, T) of nearly these magnitudes, its phases begun as those of a spectrum.

    Fast Griffin-Lim (Perraudin, Balazs and Søndergaard 2013, algorithm 2).
    """
    wav = istft(_with_magnitudes(spectrum, magnitudes), n_fft, hop_length)
    last: Tensor | None = None
    for _ in range(steps):
        found = stft(wav, n_fft, hop_length)
        ahead = found if last is None else found + MOMENTUM * (found - last)
        last = found
        wav = istft(_with_magnitudes(ahead, magnitudes), n_fft, hop_length)
    return wav


def _with_magnitudes(spectrum: Tensor, magnitudes: Tensor) -> Tensor:
    """A spectrum with other magnitudes; where it nearly vanishes, less, to bound the gradient."""
    power = spectrum.real.square() + spectrum.imag.square()
    least = (0.01 * magnitudes).square() + TINY**2
    return spectrum * (magnitudes * (power + least).rsqrt())


def _spread(bank: Tensor) -> Tensor:
    """Linear interpolation (F, num_bands) from the bands' centres to the bins of a bank."""
    bins = np.arange(bank.shape[1])
    centres = bank.numpy() @ bins
    columns = [np.interp(bins, centres, band) for band in np.eye(len(bank))]
    return torch.from_numpy(np.stack(columns, axis=1)).float()
