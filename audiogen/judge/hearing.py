"""What the judge hears: features of a clip, and versions of a clip in other colours.

The judge is to listen past the colour of a codec. So each training clip is also shown in versions
with another equaliser, a bandwidth limit, a little noise, and part of its fine structure replaced
by noise in the same 40 to 100 bands.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.audio.measure.texture_features import (
    Array,
    log_mel,
    mono,
    texture_statistics,
)
from audiogen.audio.spectral import fft_length, istft, mel_filterbank, stft

_MEL_BANDS = 40
_RANGE_DB = 70.0
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_MEL_STATISTICS = 4 + len(_QUANTILES)
"""Of each band."""
_WINDOW_SECONDS = 0.046


def texture_part(features: Array) -> Array:
    """The texture statistics (n, dim) among the features of n clips."""
    return features[:, : -_MEL_STATISTICS * _MEL_BANDS]


def clip_features(wav: Tensor, sample_rate: int) -> Array:
    """Texture statistics and log-mel statistics of a clip (C, T): (dim,) float32."""
    return np.concatenate([texture_statistics(wav, sample_rate), _mel_statistics(wav, sample_rate)])


def _mel_statistics(wav: Tensor, sample_rate: int) -> Array:
    """Mean, deviation, percentiles and changes over time of each mel band, in dB."""
    signal = mono(wav, sample_rate)
    n_fft = fft_length(_WINDOW_SECONDS, sample_rate)
    signal = signal / max(float(np.sqrt(np.mean(np.square(signal)))), 1e-6)
    mel = log_mel(signal, sample_rate, num_bands=_MEL_BANDS, n_fft=n_fft, hop=n_fft // 2)
    mel = mel.clamp_min(float(mel.max()) - _RANGE_DB)
    step = min(4, mel.shape[1] - 1)
    parts = (
        mel.mean(dim=1),
        mel.std(dim=1),
        torch.quantile(mel, torch.tensor(_QUANTILES), dim=1).flatten(),
        mel.diff(dim=1).abs().mean(dim=1),
        (mel[:, step:] - mel[:, :-step]).std(dim=1, correction=0),
    )
    return torch.cat(parts).numpy()


def coloured_version(wav: Tensor, sample_rate: int, rng: np.random.Generator) -> Tensor:
    """The same sound through other ears, for training: (C, T) -> (1, T), equal level.

    In one STFT: a share of each bin is replaced by noise with the smoothed power of its
    neighbourhood (a vocoder's grain), gains follow a random smooth curve (deviation 3 dB per
    knot), a low-pass sits between 4.5 and 12 kHz, and noise lies 25 to 60 dB below.
    """
    signal = torch.from_numpy(mono(wav, sample_rate))
    n_fft = fft_length(_WINDOW_SECONDS, sample_rate)
    hop = n_fft // 2
    num_samples = signal.shape[0]
    padded = F.pad(signal, (0, -num_samples % hop))
    spectrum = stft(padded, n_fft, hop)
    carrier = stft(torch.from_numpy(rng.standard_normal(len(padded), np.float32)), n_fft, hop)
    bank = mel_filterbank(int(rng.integers(40, 100)), n_fft, sample_rate)
    spread = bank / bank.sum(dim=0, keepdim=True).clamp_min(1e-6)
    power = spread.T @ (bank @ spectrum.abs().square())
    share = rng.uniform(0.0, 0.9)
    mixed = math.sqrt(1 - share) * spectrum + carrier * (share * power).sqrt()

    hz = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    knots = np.geomspace(50, sample_rate / 2, 7)
    curve = np.clip(rng.normal(0, 3, 7), -8, 8)
    gains_db = np.interp(np.log(np.maximum(hz, 50)), np.log(knots), curve)
    octaves_above = np.log2(np.maximum(hz, 1) / rng.uniform(4500, 12_000))
    gains_db -= np.clip(60 * octaves_above, 0, 60)
    gains = torch.from_numpy(10 ** (gains_db / 20)).float()
    coloured = istft((mixed * gains[:, None])[None], n_fft, hop)[0, :num_samples]

    level = coloured.square().mean().sqrt()
    noise = torch.from_numpy(rng.standard_normal(num_samples, np.float32))
    coloured = coloured + noise * level * 10 ** (-rng.uniform(25, 60) / 20)
    before, after = signal.square().mean().sqrt(), coloured.square().mean().sqrt()
    return (coloured * before / after.clamp_min(1e-9))[None]
