"""Plain signal processing on waveforms (C, T): rate, channels, loudness."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import pyloudnorm
import soxr
import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.audio.io.decoding import SAMPLE_RATES_HZ
from audiogen.audio.measure.polarity import INVERTED_CORRELATION

QUALITY = "HQ"  # of soxr
TARGET_LUFS = -23.0  # EBU R 128
PEAK_DB = -1.0
BLOCK_SECONDS = 0.4  # gating block of ITU-R BS.1770-4
CHANNEL_NAMES = {1: "mono", 2: "stereo"}


def resample(wav: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """Change the sample rate with soxr at its high quality.

    Args:
        wav: The sound (C, T); the result may overshoot its peak a little, as any band limit does.
        from_rate: The rate of `wav` in Hz, from 4 kHz to 768 kHz.
        to_rate: The rate of the result in Hz, within the same bounds.

    Returns:
        (C, round(T * to_rate / from_rate)) float32; `wav` itself when the rates are equal.

    Raises:
        ValueError: on a rate out of bounds, which would ask for absurd amounts of memory.

    >>> resample(torch.zeros(2, 44100), 44100, 16000).shape
    torch.Size([2, 16000])
    """
    _check_shape(wav)
    _check_rates(from_rate, to_rate)
    if from_rate == to_rate:
        return wav
    frames = np.ascontiguousarray(wav.detach().cpu().float().numpy().T)
    changed = soxr.resample(frames, from_rate, to_rate, quality=QUALITY)
    return torch.from_numpy(np.ascontiguousarray(changed.T))


def resample_blocks(blocks: Iterable[Tensor], from_rate: int, to_rate: int) -> Iterator[Tensor]:
    """Change the sample rate of a waveform that comes in blocks, as `resample` does the whole.

    Args:
        blocks: The parts of the sound, (C, n) each, with T samples in all.
        from_rate: The rate of the blocks in Hz, from 4 kHz to 768 kHz.
        to_rate: The rate of the result in Hz, within the same bounds.

    Yields:
        Blocks (C, m), round(T * to_rate / from_rate) samples in all; the blocks themselves when
        the rates are equal.

    Raises:
        ValueError: on a rate out of bounds, or another shape.

    >>> blocks = resample_blocks([torch.zeros(1, 1000)] * 3, 16000, 8000)
    >>> sum(block.shape[1] for block in blocks)
    1500
    """
    _check_rates(from_rate, to_rate)
    if from_rate == to_rate:
        yield from blocks
        return
    stream = None
    for block in blocks:
        _check_shape(block)
        if stream is None:
            stream = soxr.ResampleStream(from_rate, to_rate, block.shape[0], quality=QUALITY)
        frames = np.ascontiguousarray(block.detach().cpu().float().numpy().T)
        yield torch.from_numpy(stream.resample_chunk(frames).T)
    if stream is not None:
        rest = np.zeros((0, block.shape[0]), dtype=np.float32)
        yield torch.from_numpy(stream.resample_chunk(rest, last=True).T)


def to_channels(wav: Tensor, audio_channels: int, *, cancels: bool | None = None) -> Tensor:
    """Return (audio_channels, T): unchanged where it fits, else the mean of all, repeated.

    Of two channels that cancel each other, the second has its polarity turned first: their mean
    would be what is left of dither and noise. Whether they do is measured, unless `cancels` says
    it, as for a part of a sound.

    Raises:
        ValueError: if `audio_channels` is below 1.

    >>> to_channels(torch.tensor([[0.0, 1.0], [1.0, 0.0]]) + torch.eye(2), 1)
    tensor([[1., 1.]])
    """
    _check_shape(wav)
    if audio_channels < 1:
        raise ValueError(f"audio_channels must be at least 1, got {audio_channels}.")
    if wav.shape[0] == audio_channels:
        return wav
    if cancels is None:
        cancels = (stereo_correlation(wav) or 0) <= INVERTED_CORRELATION
    if wav.shape[0] == 2 and cancels:
        wav = torch.stack([wav[0], -wav[1]])
    return wav.mean(dim=0, keepdim=True).repeat(audio_channels, 1)


def mid_side(wav: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of left and right, and half their difference, each (..., T).

    Args:
        wav: The stereo signal (..., 2, T).

    >>> mid_side(torch.tensor([[1.0], [0.5]]))
    (tensor([0.7500]), tensor([0.2500]))
    """
    left, right = wav.unbind(-2)
    return (left + right) / 2, (left - right) / 2


def left_right(middle: Tensor, side: Tensor) -> Tensor:
    """Return the stereo signal (..., 2, T) of `mid_side`."""
    return torch.stack([middle + side, middle - side], dim=-2)


def loudness_lufs(wav: Tensor, sample_rate: int) -> float:
    """Measure integrated loudness, ITU-R BS.1770-4.

    Args:
        wav: The sound (C, T) of up to 5 channels; one that is shorter than a block of 0.4 s is
            repeated to fill it.
        sample_rate: The rate of `wav` in Hz.

    Returns:
        LUFS; minus infinity for silence.

    Raises:
        ValueError: on another shape, or NaN.

    >>> loudness_lufs(torch.zeros(2, 48000), 48000)
    -inf
    """
    _check_shape(wav)
    if wav.shape[0] > 5:
        raise ValueError(f"BS.1770 knows up to 5 channels, got {wav.shape[0]}.")
    peak = float(wav.abs().max())
    if not math.isfinite(peak):
        raise ValueError("wav has NaN or infinite samples; its loudness cannot be measured.")
    if peak == 0:
        return -math.inf
    repeats = math.ceil((BLOCK_SECONDS * sample_rate + 1) / wav.shape[1])
    samples = wav.detach().cpu().double().repeat(1, repeats).numpy().T
    # A recording below the absolute gate of -70 LUFS is measured at full scale instead: it is
    # quiet, not silent, and loudness must move by exactly the gain that is applied.
    for scale in (1.0, 1 / peak):
        with np.errstate(divide="ignore", invalid="ignore"):
            lufs = float(pyloudnorm.Meter(sample_rate).integrated_loudness(samples * scale))
        if math.isfinite(lufs):
            return lufs - 20 * math.log10(scale)
    return -math.inf


def set_loudness(wav: Tensor, sample_rate: int, *, max_gain_db: float = math.inf) -> Tensor:
    """Scale by one gain to -23 LUFS, or as near as a peak of -1 dBFS and `max_gain_db` allow.

    Silence comes back unchanged. The waveform (C, T) is only multiplied, never limited or clipped.

    >>> sine = torch.sin(torch.arange(48000.0) / 5)[None]
    >>> round(loudness_lufs(set_loudness(sine, 48000), 48000), 1)
    -23.0
    """
    lufs = loudness_lufs(wav, sample_rate)
    if lufs == -math.inf:
        return wav
    return wav * loudness_gain(lufs, float(wav.abs().max()), max_gain_db=max_gain_db)


def loudness_gain(lufs: float, peak: float, *, max_gain_db: float = math.inf) -> float:
    """Factor that `set_loudness` scales a sound of such a loudness and peak by; 1 for silence."""
    if lufs == -math.inf:
        return 1.0
    gain_db = min(TARGET_LUFS - lufs, max_gain_db)
    return min(10 ** (gain_db / 20), 10 ** (PEAK_DB / 20) / peak)


def loudest_part(wav: Tensor, length: int) -> Tensor:
    """Cut (C, T) to the `length` samples that hold the most energy; a shorter one stays whole."""
    if wav.shape[1] <= length:
        return wav
    energy = F.pad(wav.double().square().sum(dim=0).cumsum(dim=0), (1, 0))
    start = int((energy[length:] - energy[:-length]).argmax())
    return wav[:, start : start + length]


def below_full_scale(wav: Tensor) -> Tensor:
    """Lower a sound that goes beyond full scale until it does not; others stay as they are."""
    peak = float(wav.abs().max())
    return wav if peak <= 1 else wav * ((1 - 2**-20) / peak)


def stereo_correlation(wav: Tensor) -> float | None:
    """Correlation of the first two channels of (C, T), -1 to 1; None where it is not defined.

    >>> round(stereo_correlation(torch.tensor([[0.0, 1.0], [1.0, 0.0]])), 6)
    -1.0
    """
    if wav.shape[0] < 2:
        return None
    left, right = (channel - channel.mean() for channel in wav[:2].double())
    size = float(left.norm() * right.norm())
    return float(left @ right) / size if size > 1e-9 else None


def _check_rates(*rates: int) -> None:
    low, high = SAMPLE_RATES_HZ
    for rate in rates:
        if not low <= rate <= high:
            raise ValueError(f"A sample rate must be {low} to {high} Hz, got {rate}.")


def _check_shape(wav: Tensor) -> None:
    if wav.ndim != 2 or 0 in wav.shape:
        raise ValueError(f"Expected wav (C, T) with samples, got {tuple(wav.shape)}.")


def channel_change(channels: int, audio_channels: int) -> str:
    """Say how a sound of so many channels is brought to those of a model."""
    before = CHANNEL_NAMES.get(channels, f"{channels} channels")
    verb = "copied" if channels == 1 else "mixed"
    return f"{before} {verb} to {CHANNEL_NAMES[audio_channels]}"
