"""Struck metal: bells, wind chimes, and hits on anvil, pipe and sheet, all by modal synthesis."""

from __future__ import annotations

import numpy as np

from audiogen.data.synthetic.canvas import Canvas, Signal, between
from audiogen.data.synthetic.family import KINDS, Settings

# Partials of a tuned bell relative to its prime: hum, prime, tierce, quint, nominal, and above
# (Fletcher & Rossing, "The Physics of Musical Instruments"), with their strengths.
BELL_PARTIALS = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.5, 2.67, 3.0, 4.0, 5.33, 6.7, 8.2])
BELL_STRENGTHS = np.array([0.6, 0.8, 0.9, 0.35, 1.0, 0.4, 0.4, 0.6, 0.5, 0.35, 0.2, 0.12])
# Flexural modes of a bar free at both ends: (2n + 1)^2 / 9.06 (same book).
FREE_BAR = np.array([1.0, 2.756, 5.404, 8.933, 13.34])


def strikes(canvas: Canvas, times: Signal, seconds: float, *, spread: float = 0.35) -> Signal:
    """Hammer blows (C, T) at `times`: a push of `seconds` and a little scraping, one place each."""
    count = len(times)
    scrape = canvas.noise_grains(np.full(count, 3.0 / seconds), max(0.004, 2 * seconds))
    push = np.hanning(max(3, round(seconds * canvas.sample_rate)))
    grains = 0.4 * scrape / np.sqrt(seconds * canvas.sample_rate)
    grains[:, : len(push)] += push / push.sum()
    return canvas.add_grains(
        times, grains * canvas.rng.uniform(0.65, 1.0, count)[:, None], width=spread
    )


def bell(canvas: Canvas, settings: Settings) -> Signal:
    """Each partial is a doublet a little out of tune, which gives the slow beat of a bell."""
    rng = canvas.rng
    low, high, decay = KINDS["bell"][settings.kind]
    prime = between(low, high, settings.pitch)
    ratios = BELL_PARTIALS * rng.uniform(0.99, 1.01, 12)
    if settings.kind == "temple":  # untuned and thick-walled: its partials lie wider apart
        ratios = BELL_PARTIALS**1.12
    strengths = BELL_STRENGTHS * (0.5 if settings.kind == "temple" else 1.0) ** np.arange(12) ** 0.6
    decays = decay * (0.6 + BELL_PARTIALS**1.1)
    split = prime * ratios * rng.uniform(0.0006, 0.002, 12)
    rows = [
        np.stack([prime * ratios + sign * split, decays, part * strengths], axis=1)
        for sign, part in ((-0.5, 0.6), (0.5, 0.4))
    ]
    period = between(2.3, 0.8, settings.rate)
    times = canvas.regular_times(period, jitter=0.03, first=0.08)
    return canvas.resonate(strikes(canvas, times, 0.0012), np.concatenate(rows))


def wind_chimes(canvas: Canvas, settings: Settings) -> Signal:
    """A set of bars on strings; the wind comes in gusts and the clapper finds them by chance."""
    rng = canvas.rng
    low, decay, steepness, blow = KINDS["wind chimes"][settings.kind]
    scale = np.array([1.0, 9 / 8, 5 / 4, 3 / 2, 5 / 3, 2.0])  # just pentatonic
    out = canvas.silence()
    gust = float(rng.uniform(0.3, 0.7)) * canvas.seconds
    times = canvas.poisson_times(between(2.5, 12.0, settings.density))
    lean = rng.random(len(times)) < 0.5  # half of the hits crowd together around the gust
    times = np.where(lean, gust + 0.18 * canvas.seconds * (times / canvas.seconds - 0.5) * 2, times)
    times[0] = min(0.05, 0.1 * canvas.seconds)
    bars = rng.integers(0, len(scale), len(times))
    base = low * between(0.8, 1.3, settings.pitch)
    modes = 4
    for bar, place in enumerate(np.linspace(-0.8, 0.8, len(scale))):
        hits = times[bars == bar]
        if len(hits) == 0:
            continue
        freqs = base * scale[bar] * FREE_BAR[:modes] * rng.uniform(0.995, 1.005, modes)
        gains = 0.75 ** np.arange(modes) * rng.uniform(0.6, 1.0, modes)
        rows = np.stack([freqs, decay * (freqs / base) ** steepness, gains], axis=1)
        alone = canvas.mono()
        ring = alone.resonate(strikes(alone, hits, blow), rows)
        out = out + canvas.pan(ring[0], float(place))
    return out


def metal_hits(canvas: Canvas, settings: Settings) -> Signal:
    """Hard blows on a body with many inharmonic modes."""
    rng = canvas.rng
    size = between(0.75, 1.35, settings.brightness)
    if settings.kind == "anvil":  # a compact block: few modes, none of them low
        freqs = size * np.array([820.0, 1350, 1950, 2600, 3300, 4200, 5200])
        decays, gains = 6.0 + freqs / 400.0, np.linspace(1.0, 0.4, 7)
        hammer = 0.0005
    elif settings.kind == "pipe":  # a hollow bar: bending modes and a dull cavity
        freqs = size * 420.0 * np.append(FREE_BAR, 0.53)
        decays, gains = 10.0 + freqs / 200.0, np.array([1.0, 0.9, 0.7, 0.5, 0.3, 0.5])
        hammer = 0.0006
    else:  # a thin sheet: plate modes at nearly equal spacing in Hz, crowded and noisy
        freqs = size * (85.0 + 105.0 * np.arange(28) + rng.uniform(-40.0, 40.0, 28))
        decays, gains = 9.0 + freqs / 160.0, rng.uniform(0.4, 1.0, 28)
        hammer = 0.0012
    freqs = freqs * rng.uniform(0.96, 1.04, len(freqs))
    period = between(1.2, 0.28, settings.rate)
    times = canvas.regular_times(period, jitter=0.08, first=0.06)
    blows = strikes(canvas, times, hammer)
    return canvas.resonate(blows, np.stack([freqs, decays, gains], axis=1)) + 1.5 * blows
