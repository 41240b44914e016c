"""Footsteps on loose ground, by colliding particles (Cook 1997, PhISEM; Cook 2002, gait)."""

from __future__ import annotations

import numpy as np

from audiogen.data.synthetic.canvas import Canvas, Signal, between, unit_rms
from audiogen.data.synthetic.family import KINDS, Settings


def press(t: Signal, length: float) -> Signal:
    """Force of the ground on one foot: heel, a quieter roll, toe (Farnell, "Footsteps")."""
    heel = np.exp(-0.5 * ((t - 0.12 * length) / (0.07 * length)) ** 2)
    roll = 0.25 * np.exp(-0.5 * ((t - 0.4 * length) / (0.2 * length)) ** 2)
    toe = 0.75 * np.exp(-0.5 * ((t - 0.68 * length) / (0.1 * length)) ** 2)
    return np.where((t >= 0.0) & (t <= length), heel + roll + toe, 0.0)


def footsteps(canvas: Canvas, settings: Settings) -> Signal:
    """The force of each step sets how many particles collide, and how hard."""
    collisions, low_hz, high_hz, slow, fast, noise, thud = KINDS["footsteps"][settings.kind]
    period = between(0.85, 0.34, settings.rate)
    length = min(0.42, 0.7 * period)
    steps = canvas.regular_times(period, jitter=0.03, first=0.05)
    t = canvas.time()
    force = np.zeros_like(t)
    for number, start in enumerate(steps):
        side = 1.0 if number % 2 else 0.88
        force += side * canvas.rng.uniform(0.8, 1.0) * press(t - start, length)
    weight = between(0.6, 1.6, settings.intensity)
    count = max(8, round(collisions * weight * len(steps)))
    times = canvas.envelope_draws(force, count)
    hardness = force[np.minimum((times * canvas.sample_rate).astype(int), len(force) - 1)]
    sizes = (hardness * canvas.rng.pareto(2.5, count))[:, None]
    freqs = canvas.octaves(low_hz, high_hz, count) / weight**0.3
    decays = canvas.octaves(slow, fast, count)
    burst = canvas.noise_grains(2 * decays, 0.012)
    ring = canvas.sine_grains(freqs, decays, 0.012)
    grains = sizes * ((1 - noise) * ring + noise * burst * ring.std() / burst.std())
    crunch = canvas.add_grains(times, grains, width=0.5)
    crunch = unit_rms(canvas.band(crunch, 0.6 * low_hz, 1.5 * high_hz))
    thumps = canvas.sine_grains(np.full(len(steps), 85.0), np.full(len(steps), 35.0), 0.12)
    body = canvas.add_grains(steps + 0.08 * length, thumps, width=0.3)
    return crunch + thud * weight * 3.0 * body
