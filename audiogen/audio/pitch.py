"""Pitch and periodicity of a sound over time, by the autocorrelation of short windows.

Each window has a few candidates, and a path through them leaps no more often than it must (Boersma
1993): at an onset and in a noisy part, the highest peak of one window alone is often of a multiple
of the period, or of nothing.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

LOWEST_HZ, HIGHEST_HZ = 70.0, 4200.0
WINDOW_SECONDS = 0.093
"""More than six periods of the lowest pitch."""
LAG_RATE = 44_100
"""Lags per second, at any sample rate: ten in a period of the highest pitch."""
PASS_HZ = (50.0, 90.0, 4500.0, 6000.0)
"""Below the first and above the last nothing counts, between the second and third all."""
NUM_CANDIDATES = 8
"""Peaks of each window that the path may take."""
FIRST_SHARE, MULTIPLE_COST = 0.88, 0.15
"""What a peak loses, in periodicity, if one at a shorter lag is as high as this share of it: of a
period, its multiples repeat as well (McLeod and Wyvill 2005)."""
REPEATED_SECONDS = 1 / 900
"""How long a sound repeats to be periodic, at least: also noise of a narrow band does for less."""
LEAP_COST, PATH_WINDOWS = 0.6, 16
"""What a move of the pitch by an octave or more costs, in periodicity, from a window to the next (a
smaller one less in proportion); and the windows on each side that the path looks at."""
QUIET = 1e-4
"""RMS in the pass band (-80 dBFS) below which nothing is periodic."""
PER_FRAME = 2
"""Windows in each frame."""
SURE, UNSURE = 0.5, 0.3
"""Periodicities from which a pitch is what was measured, and below which what is around it."""
SMOOTH_FRAMES, REACH_FRAMES = 2.5, 8
"""Standard deviation and reach of the kernel that smooths a pitch where it is unsure."""
MIDDLE = math.log2(LOWEST_HZ * HIGHEST_HZ) / 2
"""Where a pitch goes that nothing tells: halfway between the bounds, in octaves above 1 Hz."""


def track_pitch(wav: Tensor, sample_rate: int, hop_length: int) -> tuple[Tensor, Tensor]:
    """Find the pitch and the periodicity of each frame.

    The autocorrelation of a window is divided by that of its shape (Boersma 1993), so that a
    periodic sound has 1 at its period, and noise about 0. Where a sound is not periodic, its pitch
    is that of the periodic frames around it, and far from any `MIDDLE`: it moves smoothly.

    Args:
        wav: (B, T), T a multiple of `hop_length`. Outside there is silence.
        sample_rate: in Hz.
        hop_length: samples per frame.

    Returns:
        Octaves above 1 Hz, and periodicity from 0 to 1, each (B, T // hop_length).

    >>> tone = torch.sin(2 * math.pi * 440 / 22050 * torch.arange(22528))[None]
    >>> pitch, periodicity = track_pitch(tone, 22050, 1024)
    >>> round(2 ** float(pitch[0, 11])), round(float(periodicity[0, 11]), 1)
    (440, 1.0)
    """
    num_frames = wav.shape[-1] // hop_length
    windows = _windows(wav.float(), sample_rate, hop_length)
    candidates = (
        one.reshape(-1, num_frames * PER_FRAME, NUM_CANDIDATES)
        for one in _candidates(windows, sample_rate)
    )
    pitch, height = (one.reshape(-1, num_frames, PER_FRAME) for one in _path(*candidates))
    weight = height.square() + 1e-6
    pitch, height = (pitch * weight).sum(dim=2) / weight.sum(dim=2), height.mean(dim=2)
    return _smoothed(pitch, height), height


def context_frames(sample_rate: int, hop_length: int) -> int:
    """Frames on each side that a frame's pitch depends on."""
    of_window = math.ceil(WINDOW_SECONDS * sample_rate / 2 / hop_length) + 1
    return REACH_FRAMES + PATH_WINDOWS // PER_FRAME + of_window


def _windows(wav: Tensor, sample_rate: int, hop_length: int) -> Tensor:
    """Windows (N, W) of wav (B, T), `PER_FRAME` in each frame, around even places in it."""
    size = 2 * round(WINDOW_SECONDS * sample_rate / 2)
    places = torch.arange(wav.shape[-1] // hop_length, device=wav.device)[:, None] * hop_length
    within = (2 * torch.arange(PER_FRAME, device=wav.device) + 1) * hop_length // (2 * PER_FRAME)
    starts = (places + within).flatten()  # of a window around a place in a padded signal
    padded = F.pad(wav, (size // 2, size // 2))
    # By index: the gradient of a view of all windows is as large as all of them.
    samples = starts[:, None] + torch.arange(size, device=wav.device)
    return padded[:, samples].flatten(0, 1)


def periodicity_at(wav: Tensor, pitch: Tensor, sample_rate: int, hop_length: int) -> Tensor:
    """How much a sound repeats after one period of a pitch that is given, differentiable.

    Args:
        wav: (B, T), T a multiple of `hop_length`.
        pitch: octaves above 1 Hz (B, T // hop_length).
        sample_rate: in Hz.
        hop_length: samples per frame.

    Returns:
        Autocorrelation at that lag (B, T // hop_length), 1 of a sound that repeats; 0 of silence.
    """
    num_frames = wav.shape[-1] // hop_length
    lags, shape = _autocorrelation(_windows(wav.float(), sample_rate, hop_length), sample_rate)
    place = shape.lag_rate / pitch.float().exp2()
    found = _between(lags, place.reshape(-1, 1).expand(-1, PER_FRAME).reshape(-1, 1))
    return found.reshape(-1, num_frames, PER_FRAME).mean(dim=2)


def _between(lags: Tensor, place: Tensor) -> Tensor:
    """What lags (N, L) have at places (N, K) between two of them; a broken sound has none."""
    place = place.nan_to_num().clamp(0, lags.shape[1] - 2)
    below = place.floor().long()
    share = place - below
    return lags.gather(1, below) * (1 - share) + lags.gather(1, below + 1) * share


def _autocorrelation(windows: Tensor, sample_rate: int) -> tuple[Tensor, _Shape]:
    """Autocorrelation (N, lags) of windows (N, W), 1 at no lag, 0 of what is too quiet to tell."""
    shape = _Shape.of(windows.shape[1], sample_rate, windows.device)
    spectrum = torch.fft.rfft(windows * shape.hann, n=shape.n_fft)
    power = (spectrum.real.square() + spectrum.imag.square()) * shape.passed
    is_loud = 2 * power.sum(dim=1, keepdim=True) > QUIET**2 * shape.n_fft * shape.energy
    lags = torch.fft.irfft(power, n=shape.num_lags)[:, : math.ceil(shape.lag_rate / LOWEST_HZ) + 2]
    lags = lags / lags[:, :1].clamp_min(1e-20) / shape.lags[: lags.shape[1]]
    return lags * is_loud, shape


def _candidates(windows: Tensor, sample_rate: int) -> tuple[Tensor, Tensor, Tensor]:
    """Octaves above 1 Hz, periodicity and how good each candidate is, of windows (N, W).

    Each is (N, NUM_CANDIDATES). A window with fewer peaks has some of periodicity 0.
    """
    lags, shape = _autocorrelation(windows, sample_rate)
    low, high = int(shape.lag_rate / HIGHEST_HZ), math.ceil(shape.lag_rate / LOWEST_HZ)
    before, here, after = (lags[:, low - 1 + k : high + k] for k in range(3))
    is_peak = (here > before) & (here >= after) & (here > 0)
    bend = torch.where(is_peak, before - 2 * here + after, -1.0)
    shift = 0.5 * (before - after) / bend  # to the top of a parabola through three lags
    period = torch.arange(low, high + 1, device=lags.device) + shift
    height = (here - 0.25 * (before - after) * shift).clamp(0, 1)
    periods = (REPEATED_SECONDS * shape.lag_rate / period).ceil()
    height = torch.where(periods > 1, height.minimum(_between(lags, periods * period)), height)
    height = height.clamp_min(0) * is_peak
    highest = F.pad(height.cummax(dim=1).values[:, :-1], (1, 0))  # at shorter lags
    gain = height - MULTIPLE_COST * (highest >= FIRST_SHARE * height)
    gain, place = torch.where(height > 0, gain, -MULTIPLE_COST).topk(NUM_CANDIDATES, dim=1)
    height, period = height.gather(1, place), period.gather(1, place)
    return torch.where(height > 0, (shape.lag_rate / period).log2(), MIDDLE), height, gain


def _path(octaves: Tensor, height: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Of candidates (B, N, K), the pitch and periodicity (B, N) on the best path at each window.

    The best is that over `PATH_WINDOWS` on each side, so that it depends on no more of the sound.
    """
    cost = LEAP_COST * (octaves[:, 1:, :, None] - octaves[:, :-1, None, :]).abs().clamp_max(1)
    forth = _arriving(gain, cost)
    back = _arriving(gain.flip(1), cost.transpose(2, 3).flip(1)).flip(1)
    best = (gain + forth + back).argmax(dim=-1, keepdim=True)
    return octaves.gather(-1, best)[..., 0], height.gather(-1, best)[..., 0]


def _arriving(gain: Tensor, cost: Tensor) -> Tensor:
    """What the best path to each candidate (B, N, K) gains before it.

    Args:
        gain: of each candidate (B, N, K).
        cost: of each step, (B, N - 1, to K, from K).
    """
    arriving = torch.zeros_like(gain)
    for _ in range(PATH_WINDOWS):  # all windows at once: the path grows by one in each
        came = (arriving + gain)[:, :-1, None, :] - cost
        arriving = F.pad(came.amax(dim=-1), (0, 0, 1, 0))
    return arriving


@dataclass(frozen=True)
class _Shape:
    """What all windows of W samples share.

    Attributes:
        hann: the window (W,).
        energy: the sum of its squares.
        n_fft: size of the transform, so long that no lag meets the window's other end.
        passed: share of the power of each bin that counts (n_fft // 2 + 1,).
        num_lags: size of the transform back, at about `LAG_RATE`.
        lag_rate: lags per second.
        lags: autocorrelation of the window, 1 at no lag.
    """

    hann: Tensor
    energy: Tensor
    n_fft: int
    passed: Tensor
    num_lags: int
    lag_rate: float
    lags: Tensor

    @staticmethod
    @functools.lru_cache(maxsize=16)
    def of(size: int, sample_rate: int, device: torch.device) -> _Shape:
        """The shape of windows of `size` samples."""
        n_fft = next_fast_len(size + math.ceil(sample_rate / LOWEST_HZ) + 2, real=True)
        n_fft += n_fft % 2
        num_lags = 2 * round(n_fft * LAG_RATE / sample_rate / 2)
        hann = torch.hann_window(size, device=device)
        hertz = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, device=device)
        stop, low, high, end = PASS_HZ
        passed = ((hertz - stop) / (low - stop)).clamp(0, 1)
        passed = (passed * ((end - hertz) / (end - high)).clamp(0, 1)).square()
        lags = torch.fft.irfft(torch.fft.rfft(hann, n=n_fft).abs().square(), n=num_lags)
        return _Shape(
            hann=hann,
            energy=hann.square().sum(),
            n_fft=n_fft,
            passed=passed,
            num_lags=num_lags,
            lag_rate=sample_rate * num_lags / n_fft,
            lags=lags / lags[0],
        )


def _smoothed(pitch: Tensor, height: Tensor) -> Tensor:
    """Replace a pitch (B, L) that is unsure by that of its surroundings."""
    reach = torch.arange(-REACH_FRAMES, REACH_FRAMES + 1, device=pitch.device)
    kernel = (-0.5 * (reach / SMOOTH_FRAMES) ** 2).exp()[None, None]
    weight = ((height - UNSURE + 0.1) / 0.4).clamp(0, 1).square()
    around = F.conv1d(((pitch - MIDDLE) * weight)[:, None], kernel, padding=REACH_FRAMES)[:, 0]
    share = F.conv1d(weight[:, None], kernel, padding=REACH_FRAMES)[:, 0]
    smooth = MIDDLE + around / (share + 0.05)
    sure = ((height - UNSURE) / (SURE - UNSURE)).clamp(0, 1)
    return sure * pitch + (1 - sure) * smooth
