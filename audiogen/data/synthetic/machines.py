"""Helicopters and clocks."""

from __future__ import annotations

import numpy as np

from audiogen.data.synthetic.canvas import Canvas, Signal, between, hump, oscillator, unit_rms
from audiogen.data.synthetic.family import KINDS, Settings
from audiogen.data.synthetic.motion import Passage, carried


def helicopter(canvas: Canvas, settings: Settings) -> Signal:
    """Rotor: blade slap and pulsing wash; tail rotor: a buzz; turbine: a whine."""
    rng = canvas.rng
    blade = between(9.0, 21.0, settings.rate)
    turns = np.cumsum(blade * (1 + 0.01 * canvas.drift(1.5))) / canvas.sample_rate
    since = turns % 1.0
    chop = np.exp(-0.5 * ((since - 0.3) / rng.uniform(0.06, 0.16)) ** 2)
    slap_hz = between(380.0, 750.0, settings.intensity) * rng.uniform(0.6, 1.5)
    wash = canvas.shaped_noise(lambda f: hump(f, slap_hz, 1.1))
    thump = np.exp(-since * 14.0) * np.sin(2 * np.pi * 2.6 * since) * (1 - since)
    modes = np.array([[70.0, 60.0, 1.0], [160.0, 120.0, 0.7], [310.0, 200.0, 0.4]])
    beat = canvas.resonate(np.diff(thump, prepend=thump[0])[None], modes)
    tail = oscillator(
        turns * rng.uniform(4.2, 6.4),
        np.asarray(0.75 ** np.arange(14.0), dtype=np.float64),
        rng.uniform(0, 6.28, 14),
    )
    whine_hz = rng.uniform(1700.0, 2600.0)
    whine = np.sin(2 * np.pi * turns * (whine_hz / blade)) * (1 + 0.2 * canvas.drift(6.0))
    slap = between(0.8, 1.8, settings.intensity)
    air = canvas.shaped_noise(lambda f: hump(f, 2600.0, 1.0))
    out = slap * (unit_rms(beat) + 1.3 * wash * chop) + 0.1 * air * (0.4 + chop)
    out = out + rng.uniform(0.05, 0.35) * tail + rng.uniform(0.005, 0.08) * whine
    if settings.kind == "hovering":
        return out
    speed = float(rng.choice([-1.0, 1.0]) * rng.uniform(20.0, 60.0))
    metres = 0.28 * abs(speed) * canvas.seconds * rng.uniform(0.7, 1.4)
    return carried(
        canvas, out, Passage(speed=speed, metres=metres, nearest=float(rng.uniform(0.4, 0.6)))
    )


def clock(canvas: Canvas, settings: Settings) -> Signal:
    """Tick and tock: two or three impacts of the escapement each, heard through the case."""
    rng = canvas.rng
    rate, low, high, slow, fast = KINDS["clock"][settings.kind]
    length = 3.5 / slow
    shift = between(0.75, 1.3, settings.brightness)
    freqs = shift * canvas.octaves(low, high, 7)
    decays = canvas.octaves(slow, fast, 7)
    count = round(length * canvas.sample_rate)
    sounds = []
    for level, detune in ((1.0, 1.0), (0.75, 0.88)):  # tick and tock
        modes = canvas.sine_grains(freqs * detune, decays, length) * rng.uniform(0.3, 1, (7, 1))
        click = canvas.noise_grains(np.array([2500.0]), length)[0]
        sounds.append(level * (modes.sum(axis=0) + 0.7 * click))
    period = 1.0 / (rate * between(0.75, 1.35, settings.rate))
    times = canvas.regular_times(period, jitter=0.004, first=0.08)
    grains = np.stack([sounds[tick % 2] for tick in range(len(times))])
    delays = np.sort(rng.uniform(0.006, 0.028, 2)) * min(1.0, 2.5 * period)
    out = canvas.silence()
    for delay, level in zip((0.0, *delays), (0.5, 1.0, 0.6), strict=True):
        scale = level * rng.uniform(0.9, 1.1, (len(times), 1))
        out = out + canvas.add_grains(times + delay, scale * grains[:, :count], width=0.15)
    return canvas.band(out, 0.5 * shift * low, np.inf)
