"""Loops: exact lengths without a seam, and a measure of the seam."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from audiogen.audio.dsp import stereo_correlation

FLUX_SECONDS = 1024 / 22_050
"""Length of the frames whose spectra are compared; they are a quarter of it apart."""
LEVEL_SECONDS = 0.02
CORRELATION_SECONDS = 0.1
FLUX_FLOOR = 1e-3
"""Magnitudes are compared from 60 dB below the root mean square upwards."""
INAUDIBLE_FLUX = 0.01
"""A mean change of 0.09 dB per bin; the flux of a steady tone is rounding, and has no rank."""
STEP_LIMIT = 1.05
"""A sine that is steepest at the join lies a little above the percentile."""
SILENCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Seam:
    """What is heard where the end of a loop meets its beginning, to four decimals.

    Attributes:
        level_jump_db: short-time level after the join over that before it.
        step: from the last sample to the first, over the 99.9th percentile of all steps.
        slope_jump: second difference at the join, over the 99.9th percentile of all.
        flux: spectral change across the join, a mean over bins in nepers.
        flux_median: of the same at every other place of the loop.
        flux_p95: 95th percentile of that.
        correlation_jump: change of the correlation between left and right; 0 for mono.
        score: flux and step over their limits, whichever is more; what is above 1 can be heard.
        passes: whether the join is one place like the others.
    """

    level_jump_db: float
    step: float
    slope_jump: float
    flux: float
    flux_median: float
    flux_p95: float
    correlation_jump: float
    score: float
    passes: bool


def measure_seam(wav: Tensor, sample_rate: int) -> Seam:
    """Measure the join of a loop against the loop's other places.

    The join is compared with statistics of the same kind everywhere else in the sound, so that a
    restless sound may have a restless join, and a steady one may not.

    Args:
        wav: One turn of the loop, (C, T).
        sample_rate: The rate of `wav` in Hz.

    Raises:
        ValueError: another shape, fewer than 16 samples, or samples that are not finite.

    >>> noise = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    >>> abs(measure_seam(noise, 8000).level_jump_db) < 1
    True
    >>> rising = noise * torch.linspace(0, 1, 16000)
    >>> measure_seam(rising, 8000).level_jump_db < -20
    True
    """
    if wav.dim() != 2 or wav.shape[0] == 0 or wav.shape[1] < 16:
        raise ValueError(f"measure_seam: expected wav (C, T >= 16), got {tuple(wav.shape)}")
    if not bool(wav.isfinite().all()):
        raise ValueError("measure_seam: wav has NaN or infinite samples")
    wav = wav.detach().cpu().double()
    flux, others = _flux(wav, sample_rate)
    usual = float(np.quantile(others, 0.95))
    near = min(wav.shape[1] // 2, max(2, round(LEVEL_SECONDS * sample_rate)))
    before, after = (part.square().mean().sqrt() for part in (wav[:, -near:], wav[:, :near]))
    turned = torch.cat([wav[:, -2:], wav, wav[:, :1]], dim=1)
    steps = turned.diff(dim=1)[:, 1:].abs()  # (C, T + 1): the first and the last are the join's
    bends = turned.diff(n=2, dim=1).abs()  # (C, T + 1): the first two straddle the join
    step = _over_percentile(steps[:, :1], steps[:, 1:-1])
    score = max(flux / max(usual, INAUDIBLE_FLUX), step / STEP_LIMIT)
    numbers = {
        "level_jump_db": 20 * math.log10(float((after + SILENCE) / (before + SILENCE))),
        "step": step,
        "slope_jump": _over_percentile(bends[:, :2], bends[:, 2:-1]),
        "flux": flux,
        "flux_median": float(np.median(others)),
        "flux_p95": usual,
        "correlation_jump": _correlation_jump(wav, sample_rate),
        "score": score,
    }
    rounded = {name: round(number, 4) for name, number in numbers.items()}
    return Seam(**rounded, passes=score <= 1)


def resample_ring(wav: Tensor, num_samples: int) -> Tensor:
    """Bring one turn (C, T) of a loop to `num_samples` samples; it has no ends that could show.

    The spectrum of the periodic signal is cut or filled with zeros, which is exact for what the
    loop holds below the lower of the two Nyquist rates. Played at the same rate its pitch moves
    by T / num_samples.

    >>> turn = torch.sin(2 * torch.pi * 3 * torch.arange(60) / 60)[None]
    >>> longer = torch.sin(2 * torch.pi * 3 * torch.arange(64) / 64)[None]
    >>> torch.allclose(resample_ring(turn, 64), longer, atol=1e-5)
    True
    """
    length = wav.shape[-1]
    if num_samples < 1 or length < 1:
        raise ValueError(f"resample_ring: {length} samples cannot become {num_samples}")
    if num_samples == length:
        return wav
    spectrum = torch.fft.rfft(wav.double())
    kept = (min(length, num_samples) - 1) // 2 + 1  # up to, and without, the Nyquist bin
    changed = spectrum.new_zeros(*wav.shape[:-1], num_samples // 2 + 1)
    changed[..., :kept] = spectrum[..., :kept]
    turn: Tensor = torch.fft.irfft(changed * (num_samples / length), n=num_samples)
    return turn.to(wav.dtype)


def _over_percentile(join: Tensor, others: Tensor) -> float:
    """The largest of `join` (C, K) over its channel's 99.9th percentile of `others` (C, M)."""
    limits = np.quantile(others.numpy(), 0.999, axis=1)
    largest = join.amax(dim=1).numpy()
    return float((largest / np.maximum(limits, SILENCE)).max())


def _flux(wav: Tensor, sample_rate: int) -> tuple[float, npt.NDArray[np.float64]]:
    """Spectral change across the join, and the same across every place whose frames avoid it.

    A place is crossed by four steps between five frames, of which the first ends there and the
    last begins there; the largest step counts.
    """
    length = wav.shape[1]
    size = 2 ** max(4, round(math.log2(FLUX_SECONDS * sample_rate)))
    count = max(1, length // (size // 4))
    centres = torch.arange(count) * length // count
    index = (centres[:, None] + torch.arange(-size // 2, size - size // 2)) % length
    window = torch.hann_window(size, dtype=wav.dtype)
    # Frame by channel, so that memory stays flat for many channels.
    spectra = torch.stack([torch.fft.rfft(channel[index] * window).abs() for channel in wav])
    floor = FLUX_FLOOR * spectra.square().mean().sqrt() + SILENCE
    logs = (spectra + floor).log()
    steps = (logs - logs.roll(1, dims=1)).abs().mean(dim=(0, 2))  # (count,): from m - 1 to m
    largest = torch.stack([steps.roll(turn) for turn in (1, 0, -1, -2)]).amax(dim=0).numpy()
    clear = largest[4:-3] if count > 8 else largest
    return float(largest[0]), clear


def _correlation_jump(wav: Tensor, sample_rate: int) -> float:
    """Correlation of the first two channels after the join minus that before it."""
    if wav.shape[0] < 2:
        return 0.0
    near = min(wav.shape[1] // 2, max(2, round(CORRELATION_SECONDS * sample_rate)))
    before, after = (stereo_correlation(part) or 0.0 for part in (wav[:, -near:], wav[:, :near]))
    return after - before
