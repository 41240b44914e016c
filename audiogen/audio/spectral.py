"""Short-time transforms with exact frame counts, and mel filterbanks.

Framing: a signal of M * hop_length samples has exactly M frames, and frame m is centred on the
hop m. (`torch.stft` with `center=True` gives M + 1.) That keeps frames, latents and samples in
step, so that long signals can be processed in chunks.
"""

from __future__ import annotations

import functools
import math
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor

LOWEST_HZ = 20.0
"""Lower edge of the mel bands."""


@functools.lru_cache(maxsize=32)
def _window(n_fft: int, device: torch.device) -> Tensor:
    """Hann window of unit energy: white noise of standard deviation s has bins of power s**2."""
    window = torch.hann_window(n_fft, device=device, dtype=torch.float32)
    return window / window.square().sum().sqrt()


def fft_length(seconds: float, sample_rate: int) -> int:
    """The number of samples nearest to `seconds`, on a logarithmic scale, that is a power of two.

    >>> fft_length(0.046, 22050), fft_length(0.046, 44100)
    (1024, 2048)
    """
    return int(2 ** round(math.log2(seconds * sample_rate)))


def stft(wav: Tensor, n_fft: int, hop_length: int) -> Tensor:
    """Short-time Fourier transform of unit-energy frames.

    Args:
        wav: The signal (..., T), where T is a multiple of `hop_length`. Outside there is silence.
        n_fft: The window length in samples; `n_fft - hop_length` must be even and not negative.
        hop_length: The number of samples between frames.

    Returns:
        Complex (..., n_fft // 2 + 1, T // hop_length).

    >>> stft(torch.zeros(2, 4096), 1024, 256).shape
    torch.Size([2, 513, 16])
    """
    if wav.shape[-1] % hop_length or n_fft < hop_length or (n_fft - hop_length) % 2:
        raise ValueError(
            f"stft: {wav.shape[-1]} samples with n_fft={n_fft}, hop_length={hop_length}: expected a"
            " multiple of hop_length, and n_fft - hop_length even and not negative"
        )
    padded = F.pad(wav, ((n_fft - hop_length) // 2,) * 2)
    flat = padded.reshape(-1, padded.shape[-1]).float()
    spectrum = torch.stft(
        flat,
        n_fft,
        hop_length,
        window=_window(n_fft, wav.device),
        center=False,
        return_complex=True,
    )
    return spectrum.reshape(*wav.shape[:-1], *spectrum.shape[-2:])


def mdct(wav: Tensor, hop_length: int, num_bins: int) -> Tensor:
    """The lowest coefficients of the modified discrete cosine transform (Princen and Bradley 1986).

    With all `hop_length` of them, `imdct` gives the signal back but for half a hop at each end;
    with fewer, what lies below `num_bins / (2 * hop_length)` of the sample rate, nearly.

    Args:
        wav: The signal (..., T), where T is a multiple of `hop_length`. Outside there is silence.
        hop_length: The even number of samples between frames; windows are twice as long.
        num_bins: The number of coefficients per frame, at most `hop_length`.

    Returns:
        (..., num_bins, T // hop_length), frame m centred on the hop m.

    >>> mdct(torch.zeros(2, 4096), 256, 8).shape
    torch.Size([2, 8, 16])
    """
    padded = F.pad(wav.reshape(-1, 1, wav.shape[-1]).float(), (hop_length // 2,) * 2)
    basis = _mdct_basis(hop_length, num_bins, wav.device).to(padded.dtype)
    coefficients = F.conv1d(padded, basis, stride=hop_length)
    return coefficients.reshape(*wav.shape[:-1], *coefficients.shape[-2:])


def imdct(coefficients: Tensor, hop_length: int) -> Tensor:
    """Inverse of `mdct`: (..., num_bins, M) to (..., M * hop_length)."""
    *batch, num_bins, num_frames = coefficients.shape
    flat = coefficients.reshape(-1, num_bins, num_frames).float()
    basis = _mdct_basis(hop_length, num_bins, coefficients.device).to(flat.dtype)
    padded = F.conv_transpose1d(flat, basis, stride=hop_length)
    half = hop_length // 2
    wav: Tensor = padded[..., half : half + num_frames * hop_length].reshape(*batch, -1)
    return wav


@functools.lru_cache(maxsize=32)
def _mdct_basis(hop_length: int, num_bins: int, device: torch.device) -> Tensor:
    """Orthonormal windowed cosines (num_bins, 1, 2 * hop_length)."""
    if hop_length % 2 or not 0 < num_bins <= hop_length:
        raise ValueError(
            f"mdct: {num_bins} bins with hop_length={hop_length}: expected an even hop_length, and"
            " 1 to hop_length bins"
        )
    places = torch.arange(2 * hop_length, dtype=torch.float64) + 0.5
    bins = torch.arange(num_bins, dtype=torch.float64)[:, None] + 0.5
    cosines = torch.cos(math.pi / hop_length * (places + hop_length / 2) * bins)
    window = math.sqrt(2 / hop_length) * torch.sin(math.pi / (2 * hop_length) * places)
    return (window * cosines)[:, None].to(device, torch.float32)


def istft(spectrum: Tensor, n_fft: int, hop_length: int) -> Tensor:
    """Least-squares inverse of `stft` (Griffin and Lim 1984, eq. 6).

    Args:
        spectrum: The complex spectra (..., n_fft // 2 + 1, M).
        n_fft: The window length in samples, a multiple of `hop_length`.
        hop_length: The number of samples between frames.

    Returns:
        wav (..., M * hop_length).

    >>> wav = torch.randn(1, 4096)
    >>> torch.allclose(istft(stft(wav, 1024, 256), 1024, 256), wav, atol=1e-4)
    True
    """
    *batch, num_bins, num_frames = spectrum.shape
    window = _window(n_fft, spectrum.device)
    flat = spectrum.reshape(-1, num_bins, num_frames)
    frames = torch.fft.irfft(flat, n=n_fft, dim=1).transpose(1, 2) * window
    energy = window.square().expand(1, num_frames, n_fft)
    trim = (n_fft - hop_length) // 2
    length = num_frames * hop_length
    wav = _overlap_add(frames, hop_length)[:, trim : trim + length]
    envelope = _overlap_add(energy, hop_length)[:, trim : trim + length]
    return (wav / envelope.clamp_min(1e-8)).reshape(*batch, length)


def _overlap_add(frames: Tensor, hop_length: int) -> Tensor:
    """Sum frames (B, M, n_fft) at multiples of `hop_length` into (B, (M - 1) * hop + n_fft)."""
    batch, num_frames, n_fft = frames.shape
    overlap = n_fft // hop_length
    pieces = frames.reshape(batch, num_frames, overlap, hop_length)
    out = frames.new_zeros(batch, num_frames + overlap - 1, hop_length)
    for k in range(overlap):
        out[:, k : k + num_frames] += pieces[:, :, k]
    return out.reshape(batch, -1)


@functools.lru_cache(maxsize=32)
def mel_filterbank(num_bands: int, n_fft: int, sample_rate: int) -> Tensor:
    """Triangular mel filters (Slaney's scale) whose rows sum to one.

    Rows are weighted means of magnitudes, so that a flat spectrum has flat bands. A band that is
    narrower than the bins takes the nearest bin.

    Returns:
        (num_bands, n_fft // 2 + 1), float32.
    """
    from torchaudio.functional import melscale_fbanks  # noqa: PLC0415 (slow to import)

    num_bins, high = n_fft // 2 + 1, sample_rate / 2
    make = functools.partial(
        melscale_fbanks,
        f_min=LOWEST_HZ,
        f_max=high,
        n_mels=num_bands,
        sample_rate=sample_rate,
        mel_scale="slaney",
    )
    # Constants are made on the CPU, and cached, even while a model is built without memory.
    with torch.device("cpu"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bands narrower than a bin, which are mended below
        bank: Tensor = make(num_bins).T.contiguous()
        peaks = make(4097).argmax(dim=0) / 4096
        for band in (bank.sum(dim=1) < 1e-6).nonzero().flatten().tolist():
            bank[band, round(float(peaks[band]) * (num_bins - 1))] = 1.0
        return bank / bank.sum(dim=1, keepdim=True)
