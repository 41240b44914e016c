"""Where a texture is heard: distance, room, level, and clean ends."""

from __future__ import annotations

import math

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from audiogen.data.synthetic.canvas import Canvas, Signal, between
from audiogen.data.synthetic.family import Settings
from audiogen.data.synthetic.rooms import response, tail
from audiogen.data.synthetic.scene import Scene, widened

PEAK = 10 ** (-1.05 / 20)  # a shade under -1 dBFS, so that rounding to 24 bits stays below it
LOWEST_HZ = 25.0  # of the background
FADE_IN_SECONDS = 0.006
FADE_OUT_SECONDS = 0.03


def place(canvas: Canvas, dry: Signal, settings: Settings, scene: Scene) -> Signal:
    """Move a dry signal (C, T) away (air and ground take the highs), into its room, to the mic."""
    far = settings.distance
    # Near: the first echoes of the ground. Far: all that lies between.
    outdoors = tail(canvas, between(0.08, 1.1, far))
    around = (0.2 + 0.35 * far**1.5) * outdoors
    if scene.room is not None:
        inside = scene.wet * response(canvas, scene.room)
        longer, shorter = sorted((around, inside), key=lambda one: one.shape[1], reverse=True)
        longer[:, : shorter.shape[1]] += shorter
        around = longer
    length = next_fast_len(canvas.num_samples + around.shape[1], real=True)
    freqs = rfftfreq(length, 1 / canvas.sample_rate)
    # Absorption grows with distance and with the square of frequency (ISO 9613-1); a one-pole
    # slope stands for it together with foliage and ground.
    air = 1 / np.sqrt(1 + (freqs / between(30000.0, 2200.0, far)) ** 2)
    heard = rfft(dry, length) * (1.0 + rfft(around, length)) * (air * microphone(freqs, scene))
    return np.asarray(irfft(heard, length))[:, : canvas.num_samples]


def microphone(freqs: Signal, scene: Scene) -> Signal:
    """Gain of the microphone (F,) at `freqs` in Hz; what is below hearing is removed."""
    octaves = np.log2(np.clip(freqs, 40.0, 12000.0) / 1000.0)
    low = (np.maximum(freqs, 1e-9) / scene.low_hz) ** 2
    gain = 10 ** (scene.tilt_db * octaves / 20) * low / np.sqrt(1 + low**2)
    return np.asarray(gain / np.sqrt(1 + (freqs / scene.high_hz) ** 4))


def finish(canvas: Canvas, wet: Signal, settings: Settings, scene: Scene) -> Signal:
    """Set level and width, add the background, fade the ends: peak at most -1 dBFS.

    Louder settings and nearer sounds come out louder: -31 to -17 dB RMS, less where single
    events would clip. Those events are rounded off by up to 8 dB first, as tape would, so that
    a crackling fire is not as quiet as its loudest snap demands.
    """
    level_db = -23.0 + 8.0 * (settings.intensity - 0.5) - 6.0 * (settings.distance - 0.3)
    clean = widened(wet, scene.width)
    clean = clean * (10 ** (level_db / 20) / math.sqrt(float(np.mean(clean**2))))
    over = float(np.abs(clean).max()) / PEAK
    if over > 1.0:
        clean = PEAK * np.tanh(clean * min(1.0, 2.5 / over) / PEAK)
    # No recording is digitally silent; neither are these between two events.
    hush = canvas.shaped_noise(lambda f: (f > LOWEST_HZ) / np.sqrt(1 + (f / scene.floor_hz) ** 2))
    clean += widened(10 ** (scene.floor_db / 20) * hush, scene.width)
    fade_in = min(round(FADE_IN_SECONDS * canvas.sample_rate), canvas.num_samples // 4)
    fade_out = min(round(FADE_OUT_SECONDS * canvas.sample_rate), canvas.num_samples // 4)
    clean[:, :fade_in] *= np.sin(np.linspace(0.0, np.pi / 2, fade_in)) ** 2
    clean[:, -fade_out:] *= np.cos(np.linspace(0.0, np.pi / 2, fade_out)) ** 2
    # Rounding and fades leave a trace of DC; it is taken out under a window that is 0 at the ends.
    window = np.hanning(canvas.num_samples)
    clean -= clean.mean(axis=1, keepdims=True) * window / window.mean()
    return clean * min(1.0, PEAK / float(np.abs(clean).max()))
