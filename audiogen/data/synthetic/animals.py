"""Crickets and birds."""

from __future__ import annotations

import numpy as np

from audiogen.data.synthetic.canvas import Canvas, Signal, between, hump, unit_peak
from audiogen.data.synthetic.family import KINDS, Settings


def crickets(canvas: Canvas, settings: Settings) -> Signal:
    """Wing strokes: short pulses of a nearly pure tone, grouped in chirps or in one long trill.

    Field crickets sing chirps of three to five pulses, some 30 per second (Bennet-Clark 1989).
    """
    rng = canvas.rng
    out = canvas.silence()
    carrier = between(3000.0, 5400.0, settings.pitch)
    chirping = settings.kind == "chirps"
    for singer in range(round(between(1.0, 12.0, settings.density))):
        gap = rng.uniform(0.028, 0.034) if chirping else rng.uniform(0.015, 0.019)
        length = 0.6 * gap
        t = canvas.time(length)
        freq = min(carrier * rng.uniform(0.94, 1.06), canvas.top_hz)
        glide = freq * (t - 0.04 * t**2 / length)  # the wing slows down: the pulse ends lower
        pulse = np.sin(2 * np.pi * glide) * np.hanning(len(t)) ** 0.7
        period = between(0.75, 0.28, settings.rate) * rng.uniform(0.9, 1.1)
        pulses = int(rng.integers(3, 6)) if chirping else max(3, int(0.8 * period * 3 / gap))
        period = period if chirping else 3 * period
        start = -rng.uniform(0.0, period) if singer or not chirping else 0.05
        starts = np.arange(start, canvas.seconds, period)
        starts = starts + rng.normal(0.0, 0.02 * period, len(starts))
        times = (starts[:, None] + gap * np.arange(pulses)).ravel()
        course = np.linspace(0.25, 1.0, pulses)
        strength = np.tile(course**0.5 if chirping else np.sin(np.pi * course) ** 0.3, len(starts))
        inside = (times >= 0.0) & (times < canvas.seconds - length)
        level = 1.0 if singer == 0 else rng.uniform(0.3, 0.9)
        notes = level * strength[inside, None] * pulse
        place = rng.uniform(-0.6, 0.6)
        out = out + canvas.pan(canvas.mono().add_grains(times[inside], notes)[0], place)
    night = canvas.shaped_noise(lambda f: hump(f, 250.0, 1.5) + 0.3 * hump(f, 5000.0, 0.7))
    return unit_peak(out) + 0.006 * night


def syllable(canvas: Canvas, shape: Signal, centre: float) -> Signal:
    """One note of a song: a swept tone with a little of its octave.

    Its shape is seconds, pitch at start, middle and end relative to the centre, flutter in Hz.
    """
    seconds, first, middle, last, flutter = (float(value) for value in shape)
    t = canvas.time(seconds)
    sweep = np.interp(t / seconds, [0.0, 0.5, 1.0], [first, middle, last])
    phase = 2 * np.pi * np.cumsum(np.minimum(centre * sweep, canvas.top_hz)) / canvas.sample_rate
    body = np.sin(phase)
    if centre * 2.2 < canvas.top_hz:
        body = body + 0.12 * np.sin(2 * phase)
    tremble = 1.0 - 0.8 * np.sin(np.pi * flutter * t) ** 2 if flutter else np.ones_like(t)
    return np.asarray(body * tremble * np.sin(np.pi * np.minimum(t / seconds, 1.0)) ** 0.8)


def motif(canvas: Canvas, kind: str) -> Signal:
    """The syllables (N, 5) that one bird repeats."""
    rng = canvas.rng
    fewest, _ = KINDS["birds"][kind]
    rows = []
    for _ in range(int(fewest) + int(rng.integers(0, 3))):
        if kind == "whistles":  # long, slow bends
            rows.append([rng.uniform(0.12, 0.3), *rng.uniform(0.75, 1.25, 3), 0.0])
        elif kind == "chirps":  # short, steep, mostly falling
            rows.append([rng.uniform(0.035, 0.08), 1.45, rng.uniform(0.9, 1.25), 0.75, 0.0])
        else:
            flutter = rng.uniform(24.0, 48.0)
            rows.append([rng.uniform(0.3, 0.6), *rng.uniform(0.85, 1.15, 3), flutter])
    return np.array(rows)


def birds(canvas: Canvas, settings: Settings) -> Signal:
    """Each bird repeats its motif, a little varied (compare Farnell's "Birds")."""
    rng = canvas.rng
    out = canvas.silence()
    middle = between(2300.0, 4300.0, settings.pitch)
    _, rest = KINDS["birds"][settings.kind]
    for bird in range(round(between(1.0, 6.0, settings.density))):
        song = motif(canvas, settings.kind)
        centre = middle * (1.0 if bird == 0 else rng.uniform(0.8, 1.3))
        level = 1.0 if bird == 0 else rng.uniform(0.25, 0.8)
        line = np.zeros(canvas.num_samples)
        clock = 0.04 if bird == 0 else rng.uniform(0.0, 1.0)
        while clock < canvas.seconds:
            for row in song:
                note = syllable(canvas, row, centre * rng.uniform(0.985, 1.015))
                start = round(clock * canvas.sample_rate)
                room = line[start : start + len(note)]  # shorter at the end of the clip
                room += level * rng.uniform(0.7, 1.0) * note[: len(room)]
                clock += float(row[0]) + rng.uniform(0.02, 0.07)
            clock += rest * rng.uniform(0.5, 1.6)
        out = out + canvas.pan(line, rng.uniform(-0.6, 0.6))
    air = canvas.shaped_noise(lambda f: hump(f, 400.0, 1.6))
    return unit_peak(out) + 0.004 * air
