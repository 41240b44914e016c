"""Drones: chords of slowly beating voices."""

from __future__ import annotations

import numpy as np

from audiogen.data.synthetic.canvas import Canvas, Signal, between, oscillator
from audiogen.data.synthetic.family import Settings


def spectrum(kind: str, top: int) -> Signal:
    """Harmonic magnitudes of one voice, from the fundamental up."""
    orders = np.arange(1, top + 1)
    if kind == "organ":  # drawbars: octaves and twelfths
        stops = np.isin(orders, [1, 2, 3, 4, 6, 8, 12, 16])
        return np.asarray(stops / orders**0.6)
    if kind == "glass":  # few, far apart
        return np.asarray(np.isin(orders, [1, 4, 9]) / orders**0.5)
    return 1.0 / orders  # bowed strings: a sawtooth


def drone(canvas: Canvas, settings: Settings) -> Signal:
    """Root, fifth and octave, two voices each, mistuned by a few cents so that they beat.

    Each voice fades between a dark and a bright version of its spectrum along a slow curve.
    """
    rng = canvas.rng
    root = between(75.0, 210.0, settings.pitch)
    chord = (1.0, 1.5, 2.0) if settings.kind != "synth" else (1.0, 1.5, 2.25)
    motion = between(0.15, 3.0, settings.density)
    depth = between(0.06, 0.5, settings.density)
    knee = between(600.0, 3000.0, settings.brightness)
    time = canvas.time()
    channels = []
    for _ in range(canvas.num_channels):
        total = np.zeros(canvas.num_samples)
        for ratio in chord:
            for cents in (-1.0, 1.0):
                freq = root * ratio * 2 ** (cents * rng.uniform(1.5, 7.0) / 1200)
                top = max(1, int(canvas.top_hz / freq))
                weights = spectrum(settings.kind, top)
                places = freq * np.arange(1, top + 1)
                dark = weights / (1 + (places / knee) ** 2)
                bright = weights / (1 + (places / (3.0 * knee)) ** 2)
                phases = rng.uniform(0.0, 2 * np.pi, top)
                swell = np.clip(0.5 + depth * canvas.drift(motion, slope=0.8), 0.0, 1.2)
                turns = freq * time + rng.random()
                voice = (1 - swell) * oscillator(turns, dark, phases)
                voice += swell * oscillator(turns, bright, phases)
                total += voice / ratio**0.5 * (0.6 + 0.4 * swell)
        channels.append(total)
    breath = canvas.shaped_noise(lambda f: 1 / (1 + (f / knee) ** 2))
    return np.stack(channels) + 0.02 * breath
