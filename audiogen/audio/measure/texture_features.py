"""Sound-texture statistics: what a listener keeps of a steady sound, as one vector per clip.

After McDermott & Simoncelli 2011, "Sound texture perception via statistics of the auditory
periphery" (Neuron 71): a cochlear filterbank, compressed envelopes, and time-averaged moments,
modulation powers and correlations of those envelopes. No network and no trained weight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.fft
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from audiogen.audio.dsp import to_channels
from audiogen.audio.spectral import mel_filterbank, stft

Array = NDArray[np.float32]

NUM_BANDS = 30
LOWEST_HZ, HIGHEST_HZ = 50.0, 10_000.0
COMPRESSION = 0.3
ENVELOPE_RATE = 400  # Hz; the fastest modulation kept is half of it
MODULATION_HZ = tuple(2.0**octave for octave in range(8))  # 1 to 128 Hz
CORRELATED_OFFSETS = (1, 2, 3, 5, 8, 13)
SHORTEST_SECONDS = 0.1

# Floors of the logarithms: below them nothing is heard, and a logarithm would only amplify the
# rounding of a codec. Envelopes are relative to a whole-clip RMS of 1.
_ENVELOPE_FLOOR = 0.05  # after compression; 0.05 is -87 dB
_VARIATION_FLOOR = 0.03
_POWER_FLOOR = 1e-3
_SKEWNESS_LIMIT, _KURTOSIS_LIMIT, _CORRELATION_LIMIT = 4.0, 30.0, 0.98


def texture_statistics(wav: Tensor, sample_rate: int) -> Array:
    """Describe one clip by its texture statistics.

    The vector does not depend on level (the clip is brought to an RMS of 1 first) and is finite
    for silence. It holds, in this order, for the `NUM_BANDS` cochlear bands: log mean, log
    coefficient of variation, skewness and log kurtosis of the compressed envelope; the log share
    of the envelope's variance in each modulation band; and the Fisher-transformed correlations of
    the envelopes of bands `CORRELATED_OFFSETS` apart.

    Args:
        wav: (C, T) in [-1, 1]; the channels are averaged.
        sample_rate: Hz, at least 2 * `HIGHEST_HZ` for all bands to be filled; bands above the
            Nyquist frequency stay at their floor.

    Returns:
        (dim,) float32; dim is the same for every clip.

    Raises:
        ValueError: wrong shape, non-finite samples, or a clip under `SHORTEST_SECONDS`.
    """
    envelopes = cochlear_envelopes(wav, sample_rate)
    mean = envelopes.mean(axis=1)
    centred = envelopes - mean[:, None]
    variance = np.mean(centred**2, axis=1)
    audible = variance > (_VARIATION_FLOOR * np.maximum(mean, _ENVELOPE_FLOOR)) ** 2
    safe = np.where(audible, variance, 1.0)
    skewness = np.where(audible, np.mean(centred**3, axis=1) / safe**1.5, 0.0)
    kurtosis = np.where(audible, np.mean(centred**4, axis=1) / safe**2, 3.0)
    variation = np.sqrt(variance) / np.maximum(mean, _ENVELOPE_FLOOR)
    parts = (
        np.log(np.maximum(mean, _ENVELOPE_FLOOR)),
        np.log(np.maximum(variation, _VARIATION_FLOOR)),
        np.clip(skewness, -_SKEWNESS_LIMIT, _SKEWNESS_LIMIT),
        np.log(np.clip(kurtosis, 1.0, _KURTOSIS_LIMIT)),
        _modulation_power(centred, np.where(audible, variance, np.inf)).ravel(),
        _correlations(centred, np.where(audible, variance, np.inf)),
    )
    return np.concatenate(parts).astype(np.float32)


def texture_features(wavs: Sequence[Tensor], sample_rate: int) -> Array:
    """Texture statistics of several clips: (n_items, dim)."""
    if not wavs:
        raise ValueError("texture_features: no clips were given; at least one is needed")
    return np.stack([texture_statistics(wav, sample_rate) for wav in wavs])


def log_mel(signal: Array, sample_rate: int, *, num_bands: int, n_fft: int, hop: int) -> Tensor:
    """Mel magnitudes in dB, floor at -80 dB: (T,) or (C, T) -> (..., num_bands, M).

    0 dB is a band in which white noise of standard deviation 1 would lie.
    """
    wav = torch.as_tensor(signal, dtype=torch.float32)
    magnitudes = stft(F.pad(wav, (0, -wav.shape[-1] % hop)), n_fft, hop).abs()
    bands = mel_filterbank(num_bands, n_fft, sample_rate) @ magnitudes
    return 20 * torch.log10(bands.clamp_min(1e-4))


def mono(wav: Tensor, sample_rate: int) -> Array:
    """Check a clip (C, T) and average its channels to (T,) float32."""
    if wav.ndim != 2 or wav.shape[0] == 0:
        raise ValueError(f"expected a clip (C, T), got shape {tuple(wav.shape)}")
    if wav.shape[1] < SHORTEST_SECONDS * sample_rate:
        raise ValueError(
            f"a clip of {wav.shape[1]} samples at {sample_rate} Hz is too short; "
            f"at least {SHORTEST_SECONDS} s are needed"
        )
    signal: Array = to_channels(wav.detach().float(), 1)[0].cpu().numpy()
    if not np.isfinite(signal).all():
        raise ValueError("the clip holds NaN or infinite samples")
    return signal


def cochlear_envelopes(wav: Tensor, sample_rate: int) -> Array:
    """Compressed envelopes of the cochlear bands, (NUM_BANDS, M) at `ENVELOPE_RATE` Hz.

    McDermott & Simoncelli 2011, section "Auditory model": magnitude of the analytic subband,
    raised to 0.3. Each band's bins are moved to 0 Hz before the inverse FFT (the magnitude does
    not change), so that the subband is computed at a few kHz only.
    """
    signal = mono(wav, sample_rate)
    rms = math.sqrt(float(np.mean(np.square(signal, dtype=np.float64))))
    num_frames = max(2, round(len(signal) / sample_rate * ENVELOPE_RATE))
    if rms < 1e-7:
        return np.zeros((NUM_BANDS, num_frames), dtype=np.float32)
    # Padded by 20 ms at least, against wrap-around, up to a length that is fast and a whole
    # number of 1/25 s, so that envelopes at 400 Hz and their FFT bins fall on whole numbers.
    seconds = math.ceil((len(signal) / sample_rate + 0.02) * 25) / 25
    padded = round(seconds * sample_rate)
    frames = round(seconds * ENVELOPE_RATE)
    spectrum: Any = scipy.fft.rfft(signal / rms, padded)
    envelopes = np.zeros((NUM_BANDS, num_frames), dtype=np.float32)
    for envelope, (bins, gains) in zip(envelopes, _filterbank(padded, sample_rate), strict=True):
        length = frames
        while length < 2 * len(gains):  # the magnitude has twice the bandwidth
            length *= 2
        analytic = scipy.fft.ifft(spectrum[bins] * gains, length)
        power = (analytic.real**2 + analytic.imag**2) * np.float32((2 * length / padded) ** 2)
        compressed = np.exp(np.log(power + np.float32(1e-12)) * np.float32(COMPRESSION / 2))
        lowpassed = scipy.fft.rfft(compressed)[: frames // 2 + 1]
        slow = scipy.fft.irfft(lowpassed, frames) * np.float32(frames / length)
        envelope[:] = slow[:num_frames]
    return np.asarray(np.maximum(envelopes, 0.0))


def erb_rate(hz: NDArray[Any] | float) -> NDArray[np.float64]:
    """Hz to number of equivalent rectangular bandwidths (Glasberg & Moore 1990)."""
    return np.asarray(9.265 * np.log1p(np.asarray(hz) / (24.7 * 9.265)))


@lru_cache(maxsize=16)
def _filterbank(num_samples: int, sample_rate: int) -> list[tuple[slice, Array]]:
    """Half-cosine filters, equally spaced on the ERB scale, each overlapping its neighbours.

    Returns:
        The FFT bins that each covers, and its gains in them.
    """
    edges = np.linspace(erb_rate(LOWEST_HZ), erb_rate(HIGHEST_HZ), NUM_BANDS + 2)
    edges_hz = 24.7 * 9.265 * np.expm1(edges / 9.265)
    bins_hz = np.arange(num_samples // 2 + 1) * (sample_rate / num_samples)
    width = edges[1] - edges[0]
    bands = []
    for centre, low_hz, high_hz in zip(edges[1:-1], edges_hz[:-2], edges_hz[2:], strict=True):
        bins = slice(*np.searchsorted(bins_hz, [low_hz, high_hz]))
        distance = (erb_rate(bins_hz[bins]) - centre) / width
        gains = np.cos(np.clip(distance, -1, 1) * np.pi / 2).astype(np.float32)
        bands.append((bins, gains))
    return bands


@lru_cache(maxsize=16)
def _modulation_weights(num_frames: int) -> Array:
    """Power responses (bands, bins) of half-cosine filters an octave wide on each side."""
    hz = scipy.fft.rfftfreq(num_frames, 1 / ENVELOPE_RATE)
    octaves = np.log2(np.maximum(hz, 1e-3))[None, :] - np.log2(MODULATION_HZ)[:, None]
    response = np.where(np.abs(octaves) < 1, np.cos(octaves * np.pi / 2), 0.0)
    return (response**2).astype(np.float32)


def _modulation_power(centred: Array, variance: Array) -> Array:
    """Log share of each envelope's variance in each modulation band, (NUM_BANDS, 8)."""
    num_frames = centred.shape[1]
    power = np.abs(scipy.fft.rfft(centred, axis=1)) ** 2 * (2 / num_frames**2)
    shares = power @ _modulation_weights(num_frames).T / variance[:, None]
    return np.asarray(np.log(np.maximum(shares, _POWER_FLOOR)), dtype=np.float32)


def _correlations(centred: Array, variance: Array) -> Array:
    """Fisher z of the correlations of neighbouring bands' envelopes, offset by offset."""
    unit = centred / np.sqrt(variance * centred.shape[1])[:, None]
    matrix = np.clip(unit @ unit.T, -_CORRELATION_LIMIT, _CORRELATION_LIMIT)
    diagonals = [np.diagonal(matrix, offset) for offset in CORRELATED_OFFSETS]
    return np.asarray(np.arctanh(np.concatenate(diagonals)), dtype=np.float32)
