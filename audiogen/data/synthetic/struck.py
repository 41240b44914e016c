"""Struck metal: hits on anvil, pipe and sheet, by modal synthesis."""

from __future__ import annotations

import numpy as np

from audiogen.data.synthetic.canvas import Canvas, Signal, between
from audiogen.data.synthetic.family import Settings

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


def metal_hits(canvas: Canvas, settings: Settings) -> Signal:
    """Hard blows on a body with many inharmonic modes, each blow at another place."""
    rng = canvas.rng
    size = between(0.75, 1.35, settings.brightness) * between(0.7, 1.4, rng.random())
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
    freqs = freqs * rng.uniform(0.9, 1.1, len(freqs))
    decays = decays * between(0.4, 3.0, rng.random())  # hung up, or held and damped
    gains = gains * rng.uniform(0.3, 1.0, len(freqs))
    hammer *= between(0.5, 2.5, rng.random())
    period = between(1.2, 0.28, settings.rate)
    times = canvas.regular_times(period, jitter=rng.uniform(0.02, 0.12), first=0.06)
    alone = canvas.mono()
    blows = strikes(alone, times, hammer)
    # Half of the modes are heard more to the left, half more to the right.
    apart = float(rng.uniform(0.1, 0.7))
    modes = np.stack([freqs, decays, gains], axis=1)
    ring = [alone.resonate(blows, modes[side::2])[0] for side in (0, 1)]
    click = rng.uniform(0.6, 2.4) * blows[0]
    return canvas.pan(ring[0], -apart) + canvas.pan(ring[1], apart) + canvas.pan(click, 0.0)
