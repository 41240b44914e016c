"""Where a texture is heard: distance, room, level, and clean ends."""

from __future__ import annotations

import math

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.signal import butter, sosfilt

from audiogen.data.synthetic.canvas import Canvas, Signal, between
from audiogen.data.synthetic.family import Settings

PEAK = 10 ** (-1.05 / 20)  # a shade under -1 dBFS, so that rounding to 24 bits stays below it
FLOOR_DB = -68.0  # no recording is digitally silent; neither are these between two events
FADE_IN_SECONDS = 0.006
FADE_OUT_SECONDS = 0.03


def tail(canvas: Canvas, seconds: float) -> Signal:
    """Impulse response (C, L) of a room that decays by 60 dB in `seconds`, energy 1.

    Exponentially decaying noise (Moorer 1979), the upper half dying away twice as fast.
    """
    length = max(16, round(seconds * canvas.sample_rate))
    t = np.arange(length) / canvas.sample_rate
    noise = canvas.rng.standard_normal((2, canvas.num_channels, length))
    split = butter(1, min(1500.0, canvas.top_hz), fs=canvas.sample_rate, output="sos")
    low = np.asarray(sosfilt(split, noise[0])) * np.exp(-6.91 * t / seconds)
    high = (noise[1] - np.asarray(sosfilt(split, noise[1]))) * np.exp(-2 * 6.91 * t / seconds)
    response = (low + 0.5 * high) * np.minimum(t / 0.008, 1.0)
    return np.asarray(response / np.sqrt(np.sum(response**2, axis=1, keepdims=True)))


def place(canvas: Canvas, dry: Signal, settings: Settings) -> Signal:
    """Move a dry signal (C, T) away (air and ground take the highs) and into its room."""
    far, wet = settings.distance, settings.reverb
    outdoors = tail(canvas, between(0.08, 1.1, far))  # near: the first echoes of the ground
    hall = tail(canvas, between(0.2, 1.8, wet))
    length = next_fast_len(canvas.num_samples + hall.shape[1] + outdoors.shape[1], real=True)
    freqs = rfftfreq(length, 1 / canvas.sample_rate)
    # Absorption grows with distance and with the square of frequency (ISO 9613-1); a one-pole
    # slope stands for it together with foliage and ground.
    air = 1 / np.sqrt(1 + (freqs / between(30000.0, 2200.0, far)) ** 2)
    response = (
        1.0 + (0.2 + 0.35 * far**1.5) * rfft(outdoors, length) + 0.5 * wet * rfft(hall, length)
    )
    wide = irfft(rfft(dry, length) * response * air, length)
    return np.asarray(wide)[:, : canvas.num_samples]


def finish(canvas: Canvas, wet: Signal, settings: Settings) -> Signal:
    """Set the level, fade the ends, remove what is below hearing: peak at most -1 dBFS.

    Louder settings and nearer sounds come out louder: -31 to -17 dB RMS, less where single
    events would clip. Those events are rounded off by up to 8 dB first, as tape would, so that
    a crackling fire is not as quiet as its loudest snap demands.
    """
    level_db = -23.0 + 8.0 * (settings.intensity - 0.5) - 6.0 * (settings.distance - 0.3)
    clean = canvas.band(wet, 25.0, math.inf)
    clean *= 10 ** (level_db / 20) / math.sqrt(float(np.mean(clean**2)))
    over = float(np.abs(clean).max()) / PEAK
    if over > 1.0:
        clean = PEAK * np.tanh(clean * min(1.0, 2.5 / over) / PEAK)
    hush = canvas.shaped_noise(lambda f: 1 / np.sqrt(1 + (f / 400.0) ** 2))
    clean += 10 ** (FLOOR_DB / 20) * canvas.band(hush, 25.0, math.inf)
    fade_in = min(round(FADE_IN_SECONDS * canvas.sample_rate), canvas.num_samples // 4)
    fade_out = min(round(FADE_OUT_SECONDS * canvas.sample_rate), canvas.num_samples // 4)
    clean[:, :fade_in] *= np.sin(np.linspace(0.0, np.pi / 2, fade_in)) ** 2
    clean[:, -fade_out:] *= np.cos(np.linspace(0.0, np.pi / 2, fade_out)) ** 2
    # Rounding and fades leave a trace of DC; it is taken out under a window that is 0 at the ends.
    window = np.hanning(canvas.num_samples)
    clean -= clean.mean(axis=1, keepdims=True) * window / window.mean()
    return clean * min(1.0, PEAK / float(np.abs(clean).max()))
