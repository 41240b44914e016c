"""Sea waves and streams."""

from __future__ import annotations

import numpy as np

from audiogen.data.synthetic.canvas import Canvas, Signal, between, hump, unit_rms
from audiogen.data.synthetic.family import KINDS, Settings


def swells(canvas: Canvas, settings: Settings) -> tuple[Signal, Signal]:
    """Loudness of the breaking waves and of the water that runs back, each (T,) in 0 to 1."""
    rng = canvas.rng
    t = canvas.time()
    period = between(5.0, 2.6, settings.rate)
    attack = 0.14 if settings.kind == "rocks" else rng.uniform(0.45, 0.8)
    fall = between(1.5, 0.8, settings.rate)
    crest = rng.uniform(0.15, 0.4) * min(period, canvas.seconds)
    breaking, backwash = np.zeros_like(t), np.zeros_like(t)
    crest -= period  # one wave before the clip, whose water is still running back
    while crest < canvas.seconds + 1.0:
        height = rng.uniform(0.65, 1.0)
        since = t - crest
        wave = np.where(since < 0.0, np.exp(since / attack), np.exp(-np.abs(since) / fall))
        breaking = np.maximum(breaking, height * wave)
        backwash += height * np.exp(-0.5 * ((since - 0.45 * period) / (0.16 * period)) ** 2)
        crest += period * rng.uniform(0.85, 1.15)
    return breaking, np.minimum(backwash, 1.0)


def sea_waves(canvas: Canvas, settings: Settings) -> Signal:
    """Waves that rise as rumble, break into full-band foam and run back as hiss."""
    breaking, backwash = swells(canvas, settings)
    force = between(0.55, 1.3, settings.intensity)
    hiss, boom = KINDS["sea waves"][settings.kind]

    def magnitude(freqs: Signal, middles: Signal) -> Signal:
        index = middles.astype(np.int64)
        wave, wash = breaking[index], backwash[index]
        # The foam opens the spectrum: the cutoff follows the crest.
        cutoff = 180.0 + 5200.0 * force * wave**1.7
        foam = wave**1.3 / np.sqrt(1 + (freqs / cutoff) ** 3) * (120.0 / (freqs + 120.0)) ** 0.35
        deep = boom * (0.12 + wave**2) * hump(freqs, 75.0, 0.8)
        return np.asarray(foam + deep + hiss * wash * hump(freqs, 5000.0, 0.8) + 0.006)

    out = canvas.moving_noise(magnitude)
    if settings.kind == "pebbles":  # stones knock together as the water drags them back
        count = max(1, round(260 * canvas.seconds))
        times = canvas.envelope_draws(backwash**2 + 0.15 * breaking, count)
        freqs = canvas.octaves(1400.0, 5200.0, count)
        grains = canvas.sine_grains(freqs, canvas.octaves(250.0, 700.0, count), 0.015)
        sizes = canvas.rng.pareto(2.2, count)[:, None]
        out = out + 0.12 * unit_rms(canvas.add_grains(times, sizes * grains))
    return out


def stream(canvas: Canvas, settings: Settings) -> Signal:
    """Bubbles by the thousand (van den Doel 2005, "Physically based models for liquid sounds")."""
    rng = canvas.rng
    smallest, largest, rush = KINDS["stream"][settings.kind]
    rate = between(45.0, 380.0, settings.density)
    times = canvas.poisson_times(rate)
    shift = between(1.2, 0.75, settings.brightness)
    radii = shift * canvas.octaves(smallest, largest, len(times))
    freqs = 3.0 / radii  # Minnaert's resonance, radius in m
    decays = 0.13 / radii + 0.0072 * radii**-1.5  # radiation and heat losses
    near_surface = rng.random(len(times)) < 0.6
    sizes = (rng.random(len(times)) ** 3 * (radii / largest) ** 0.6)[:, None]
    bubbles = canvas.silence()
    for rise, chosen in ((0.1, near_surface), (0.0, ~near_surface)):  # xi = 0.1 when near
        grains = canvas.sine_grains(freqs[chosen], 0.55 * decays[chosen], 0.06, rise=rise)
        bubbles = bubbles + canvas.add_grains(times[chosen], sizes[chosen] * grains)
    rush *= between(0.5, 1.6, settings.density)
    centre = 650.0 / shift
    noise = canvas.shaped_noise(lambda f: hump(f, centre, 1.2))
    swirl = np.clip(1.0 + 0.25 * canvas.drift(5.0, slope=0.2), 0.2, 2.0)
    return canvas.band(unit_rms(bubbles), 150.0, np.inf) + rush * noise * swirl
