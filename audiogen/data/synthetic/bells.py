"""Bells and wind chimes, by modal synthesis: partials, their beats, and where they are struck."""

from __future__ import annotations

import math

import numpy as np

from audiogen.data.synthetic.canvas import Canvas, Signal, between, unit_rms
from audiogen.data.synthetic.family import KINDS, Settings
from audiogen.data.synthetic.struck import FREE_BAR, strikes

# Partials relative to the prime, of a bell tuned with a minor third: hum, prime, tierce, quint,
# nominal, and above (Fletcher & Rossing, "The Physics of Musical Instruments"), with strengths.
PARTIALS = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.5, 2.67, 3.0, 4.0, 5.33, 6.7, 8.2, 9.9, 11.7, 13.7])
STRENGTHS = np.array(
    [0.6, 0.8, 0.9, 0.35, 1.0, 0.4, 0.4, 0.6, 0.5, 0.35, 0.2, 0.2, 0.15, 0.15, 0.1]
)
HIGHEST_DOUBLET = 6.0  # above, partials are gone before they have beaten once
MAJOR_THIRD = 1.25  # in place of 1.2, as in carillon bells since 1985 (same book)
# Hand bells: the second partial is tuned to a twelfth, the others fall as they do (same book).
HAND_BELL = np.array([1.0, 3.0, 3.7, 5.9, 6.5, 8.9])
# Pitches of a set of chimes.
SCALES = np.array(
    [
        [1.0, 9 / 8, 5 / 4, 3 / 2, 5 / 3, 2.0],  # just pentatonic
        [1.0, 6 / 5, 4 / 3, 3 / 2, 9 / 5, 2.0],  # minor pentatonic
        [1.0, 9 / 8, 5 / 4, 45 / 32, 3 / 2, 15 / 8],  # lydian
        [1.0, 1.08, 1.19, 1.31, 1.47, 1.62],  # cut by eye
    ]
)


def bell_partials(canvas: Canvas, kind: str, prime: float) -> tuple[Signal, Signal]:
    """Ratios to the prime (N,) and strengths (N,) of one bell: its tuning, and where it is hit."""
    rng = canvas.rng
    ratios, strengths = PARTIALS.copy(), STRENGTHS.copy()
    untuned = rng.choice([0.003, 0.01, 0.03])
    if kind == "temple":  # untuned and thick-walled: its partials lie wider apart
        ratios = ratios ** rng.uniform(1.03, 1.2)
        strengths = strengths * 0.5 ** np.arange(len(ratios)) ** 0.6
    elif prime > 700.0 and rng.random() < 0.6:
        ratios, strengths = HAND_BELL.copy(), 0.6 ** np.arange(6.0)
    elif rng.random() < 0.3:
        ratios[2] = MAJOR_THIRD
    ratios = ratios * rng.uniform(1 - untuned, 1 + untuned, len(ratios))
    # A blow near a node line of a mode hardly moves it.
    struck = 0.15 + np.abs(np.cos(np.pi * rng.uniform(0.0, 0.5) * np.sqrt(ratios)))
    return ratios, strengths * struck * rng.uniform(0.6, 1.0, len(ratios))


def toll(canvas: Canvas, kind: str, prime: float, times: Signal, *, doublets: bool) -> Signal:
    """One bell struck at `times`: (C, T).

    Each mode of a bell that is not quite round is a doublet, and its two halves reach each ear in
    another proportion, so that the beats are not the same left and right.
    """
    rng = canvas.rng
    alone = canvas.mono()
    ratios, strengths = bell_partials(canvas, kind, prime)
    decay = KINDS["bell"][kind][2] * (prime / 300.0) ** 0.4 * between(0.6, 2.2, rng.random())
    decays = decay * (0.5 + ratios ** rng.uniform(0.8, 1.4))
    split = prime * ratios * between(0.0002, 0.004, rng.random()) * rng.uniform(0.5, 1, len(ratios))
    if not doublets:
        split = 0.0 * split
    soft = (0.0025, 0.009) if kind == "temple" else (0.0004, 0.004)
    blow = between(*soft, rng.random()) * min(1.0, (400.0 / prime) ** 0.5)
    blows = strikes(alone, times, max(blow, 0.0002))
    rows = [
        np.stack([prime * ratios + sign * split, decays, strengths], axis=1)[chosen]
        for sign, chosen in ((-0.5, slice(None)), (0.5, ratios < HIGHEST_DOUBLET))
    ]
    halves = [alone.resonate(blows, row)[0] for row in rows[: 1 + doublets]]
    if not doublets:
        return canvas.pan(halves[0], float(rng.uniform(-0.8, 0.8)))
    angle, ears = rng.uniform(0.3, 1.2), rng.uniform(-0.5, 0.5)
    sides = np.array([-0.5, 0.5]) if canvas.num_channels == 2 else np.zeros(1)
    return np.stack(
        [
            math.cos(angle + ears * side) * halves[0] + math.sin(angle + ears * side) * halves[1]
            for side in sides
        ]
    )


def bell(canvas: Canvas, settings: Settings) -> Signal:
    """A bell that is rung in time; some ring with one or two others behind."""
    rng = canvas.rng
    low, high, _ = KINDS["bell"][settings.kind]
    prime = between(low, high, settings.pitch) * rng.uniform(0.9, 1.1)
    period = between(2.6, 0.7, settings.rate)
    unsteady = float(rng.uniform(0.005, 0.05))
    times = canvas.regular_times(period, jitter=unsteady, first=float(rng.uniform(0.04, 0.2)))
    out = unit_rms(toll(canvas, settings.kind, prime, times, doublets=True))
    others = int(rng.integers(1, 3)) if settings.kind == "church" and rng.random() < 0.4 else 0
    for _ in range(others):
        other = prime * float(rng.choice([0.667, 0.75, 0.8, 0.889, 1.125, 1.25, 1.333, 1.5]))
        shifted = canvas.regular_times(
            period * rng.uniform(0.9, 1.2), jitter=0.03, first=float(rng.uniform(0.1, 1.0)) * period
        )
        level = 10 ** rng.uniform(-0.9, -0.25)
        out = out + level * unit_rms(toll(canvas, "church", other, shifted, doublets=False))
    return out


def wind_chimes(canvas: Canvas, settings: Settings) -> Signal:
    """A set of bars on strings; the wind comes in gusts and the clapper finds them by chance."""
    rng = canvas.rng
    low, decay, steepness, blow = KINDS["wind chimes"][settings.kind]
    scale = SCALES[rng.integers(len(SCALES))] * rng.uniform(0.985, 1.015, 6)
    out = canvas.silence()
    gust = float(rng.uniform(0.1, 0.9)) * canvas.seconds
    times = canvas.poisson_times(between(1.8, 16.0, settings.density))
    lean = rng.random(len(times)) < rng.uniform(0.2, 0.8)  # they crowd together around the gust
    times = np.where(lean, gust + 0.18 * canvas.seconds * (times / canvas.seconds - 0.5) * 2, times)
    times = np.maximum(times, 0.0)
    times[0] = min(0.05, 0.1 * canvas.seconds)
    bars = rng.integers(0, len(scale), len(times))
    base = low * between(0.55, 1.6, settings.pitch) * rng.uniform(0.9, 1.1)
    decay *= between(0.4, 2.2, rng.random())
    blow *= between(0.6, 2.5, rng.random())
    modes = 4
    # Where the clapper meets the bars, and how much of them the string holds back.
    held = np.abs(np.cos(np.pi * rng.uniform(0.0, 0.45) * np.arange(modes)))
    stage = rng.uniform(0.3, 0.9)
    for bar, place in enumerate(np.linspace(-stage, stage, len(scale))):
        hits = times[bars == bar]
        if len(hits) == 0:
            continue
        freqs = base * scale[bar] * FREE_BAR[:modes] * rng.uniform(0.985, 1.015, modes)
        gains = (0.15 + held) * rng.uniform(0.55, 0.95) ** np.arange(modes)
        rows = np.stack([freqs, decay * (freqs / base) ** steepness, gains], axis=1)
        beat = rows[:2] * [1 + between(0.0004, 0.003, rng.random()), 1.0, rng.uniform(0.2, 0.8)]
        alone = canvas.mono()
        ring = alone.resonate(strikes(alone, hits, blow), np.concatenate([rows, beat]))
        out = out + canvas.pan(ring[0], float(place))
    return out
