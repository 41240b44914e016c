"""Drones: chords of slowly beating voices whose colour moves."""

from __future__ import annotations

import numpy as np

from audiogen.data.synthetic.canvas import Canvas, Signal, between, hump, oscillator, unit_rms
from audiogen.data.synthetic.family import Settings

# Notes of a chord as ratios to its root.
CHORDS = (
    (1.0, 2.0),  # octave
    (1.0, 1.5, 2.0),  # fifth
    (1.0, 1.5, 2.25),  # two fifths
    (1.0, 4 / 3, 2.0),  # fourth
    (1.0, 1.25, 1.5),  # major
    (1.0, 1.2, 1.5, 2.0),  # minor
    (1.0, 1.2, 1.5, 1.8),  # minor seventh
    (1.0, 1.125, 1.5),  # second
    (1.0, 1.414, 2.0),  # tritone
    (1.0, 1.0595, 2.0),  # cluster
    (1.0, 3.0, 5.0, 7.0),  # overtones
)
# Bending modes of a wine glass with 2 to 5 nodal diameters (Fletcher & Rossing).
GLASS = np.array([1.0, 2.32, 4.25, 6.63])


def spectrum(kind: str, top: int, rng: np.random.Generator) -> Signal:
    """Harmonic magnitudes (top,) of one voice, from the fundamental up."""
    orders = np.arange(1, top + 1)
    if kind == "organ":  # drawbars: octaves and twelfths
        stops = np.array([1, 2, 3, 4, 6, 8, 12, 16])
        drawn = stops[(rng.random(8) < 0.6) | (stops == 1)]
        return np.asarray(np.isin(orders, drawn) / orders ** rng.uniform(0.3, 1.0))
    if kind == "synth":  # a pulse of some width; half a period is a square wave
        width = rng.uniform(0.08, 0.5)
        return np.asarray(np.abs(np.sin(np.pi * orders * width)) / orders + 1e-6)
    # Bowed strings: a sawtooth, less what lies at a node of the bow, through the body.
    bow = np.abs(np.sin(np.pi * orders * rng.uniform(0.07, 0.2))) + 0.2
    return np.asarray(bow / orders ** rng.uniform(0.9, 1.4))


def swell(canvas: Canvas, settings: Settings) -> Signal:
    """How bright a voice is, from 0 to 1.2 (T,): a slow curve, or a pulsation."""
    motion = between(0.15, 3.0, settings.density)
    depth = between(0.06, 0.5, settings.density)
    return np.clip(0.5 + depth * canvas.drift(motion, slope=0.8), 0.0, 1.2)


def harmonic_voice(
    canvas: Canvas, settings: Settings, freq: float, turns: Signal, knee: float
) -> Signal:
    """A voice (T,) that fades between a dark and a bright version of its spectrum."""
    rng = canvas.rng
    top = max(1, int(canvas.top_hz / freq))
    weights = spectrum(settings.kind, top, rng)
    places = freq * np.arange(1, top + 1, dtype=np.float64)
    dark = weights / (1 + (places / knee) ** 2)
    bright = weights / (1 + (places / (3.0 * knee)) ** 2)
    if rng.random() < 0.4:  # a formant that the motion brings out
        bright = bright * (1 + 4.0 * hump(places, float(knee * rng.uniform(0.5, 2.0)), 0.3))
    phases = rng.uniform(0.0, 2 * np.pi, 512)[:top]  # as many draws at every rate
    level = swell(canvas, settings)
    voice = (1 - level) * oscillator(turns, dark, phases)
    voice += level * oscillator(turns, bright, phases)
    return voice * (0.6 + 0.4 * level)


def glass_voice(
    canvas: Canvas, settings: Settings, freq: float, turns: Signal, knee: float
) -> Signal:
    """A rubbed glass (T,): few partials, inharmonic, each with a life of its own."""
    rng = canvas.rng
    total = np.zeros(canvas.num_samples)
    ratios = GLASS * np.append(1.0, rng.uniform(0.97, 1.03, 3))
    for number, ratio in enumerate(ratios):
        if freq * ratio > canvas.top_hz:
            break
        level = rng.uniform(0.4, 1.0) / (1 + (freq * ratio / (3.0 * knee)) ** 2) / (1 + number)
        phase = np.array([rng.uniform(0.0, 6.28)])
        total += level * oscillator(turns * ratio, np.ones(1), phase) * swell(canvas, settings)
    return total


def drone(canvas: Canvas, settings: Settings) -> Signal:
    """A chord of two or three mistuned voices a note, which beat, each at its place in stereo.

    All voices share a little of one slow wander in pitch; the rest is breath, bow or hum.
    """
    rng = canvas.rng
    root = between(48.0, 270.0, settings.pitch) * rng.uniform(0.9, 1.12)
    chord = CHORDS[rng.integers(len(CHORDS))]
    spread = between(1.5, 22.0, rng.random())  # cents: from one beat in seconds to an ensemble
    voices = 2 if len(chord) > 3 or rng.random() < 0.6 else 3
    knee = between(450.0, 3200.0, settings.brightness) * rng.uniform(0.7, 1.4)
    fall = rng.uniform(0.2, 1.1)  # of level with pitch
    stage = rng.uniform(0.2, 1.0)
    wander = canvas.drift(0.8, slope=0.8) * rng.uniform(0.0, 0.003)
    if rng.random() < 0.35:  # it glides by up to two semitones, there or back
        course = np.sin(np.linspace(0.0, np.pi * rng.uniform(0.5, 2.0), canvas.num_samples))
        wander = wander + rng.uniform(-0.12, 0.12) * course
    time = canvas.time() + np.cumsum(wander) / canvas.sample_rate
    out = canvas.silence()
    make = glass_voice if settings.kind == "glass" else harmonic_voice
    register = 2.0 if settings.kind == "glass" else 1.0
    for ratio in chord:
        for number in range(voices):
            cents = (number - (voices - 1) / 2) * 2 / (voices - 1) * spread
            freq = register * root * ratio * 2 ** (cents * rng.uniform(0.6, 1.4) / 1200)
            voice = make(canvas, settings, freq, freq * time + rng.random(), knee)
            out = out + canvas.pan(voice / ratio**fall, float(rng.uniform(-stage, stage)))
    breath = canvas.shaped_noise(lambda f: 1 / (1 + (f / knee) ** 2) + 0.2 * hump(f, 4 * root, 0.2))
    breath = breath * np.clip(1.0 + 0.3 * canvas.drift(1.5), 0.2, 2.0)
    return unit_rms(out) + 10 ** rng.uniform(-2.2, -0.3) * breath
