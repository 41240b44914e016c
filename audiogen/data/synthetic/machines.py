"""Engines, helicopters and clocks."""

from __future__ import annotations

import numpy as np

from audiogen.data.synthetic.canvas import Canvas, Signal, between, hump, oscillator, unit_rms
from audiogen.data.synthetic.family import KINDS, Settings


def engine(canvas: Canvas, settings: Settings) -> Signal:
    """Four-stroke pulses, unequal from cylinder to cylinder, through the exhaust pipe.

    After Farnell, "Cars", and Baldan et al. 2015: one work cycle takes two turns.
    """
    rng = canvas.rng
    slow, fast, cylinders, clatter, rasp = KINDS["engine"][settings.kind]
    cycles = between(slow, fast, settings.rate) / 120.0
    wobble = 1.0 + 0.012 * canvas.drift(3.0) + 0.004 * canvas.drift(20.0, slope=0.0)
    turns = np.cumsum(cycles * wobble) / canvas.sample_rate
    pulses = np.zeros(canvas.num_samples)
    offsets = np.arange(cylinders) / cylinders
    if settings.kind == "motorbike":
        offsets = np.array([0.0, 0.42])  # a V-twin limps
    for offset in offsets:
        since = ((turns + offset) % 1.0) / cycles  # seconds since this cylinder fired
        strength = rng.uniform(0.65, 1.0)
        pulses += strength * np.minimum(since / 0.0006, 1.0) * np.exp(-since / 0.0022)
    pipe = rng.uniform(70.0, 105.0)  # quarter-wave resonances of the exhaust: odd multiples
    orders = np.array([1.0, 3.0, 5.0, 7.0, 9.0, 13.0])
    tone = between(0.7, 1.0, settings.brightness)
    modes = np.stack([pipe * orders, 60.0 + 12.0 * orders, tone ** np.arange(6)], axis=1)
    ripple = (pulses - pulses.mean())[None]
    body = unit_rms(canvas.resonate(ripple, modes)) + 0.5 * unit_rms(ripple)
    gas = canvas.shaped_noise(lambda f: hump(f, between(600.0, 1400.0, settings.brightness), 1.2))
    knock = canvas.shaped_noise(lambda f: hump(f, 2600.0, 0.5))
    breath = gas * pulses * rasp + clatter * knock * pulses**3
    fan = canvas.shaped_noise(lambda f: hump(f, 900.0, 1.5))
    return body + between(0.9, 2.2, settings.brightness) * breath + 0.06 * fan


def helicopter(canvas: Canvas, settings: Settings) -> Signal:
    """Rotor: blade slap and pulsing wash; tail rotor: a buzz; turbine: a whine."""
    rng = canvas.rng
    blade = between(9.0, 21.0, settings.rate)
    t = canvas.time()
    passing = settings.kind == "flying past"
    middle = rng.uniform(0.4, 0.6) * canvas.seconds
    near = 1.0 / np.sqrt(1 + ((t - middle) / (0.28 * canvas.seconds)) ** 2)
    doppler = 1.0 - 0.07 * np.tanh((t - middle) / (0.15 * canvas.seconds)) if passing else 1.0
    turns = np.cumsum(blade * doppler * (1 + 0.01 * canvas.drift(1.5))) / canvas.sample_rate
    since = turns % 1.0
    chop = np.exp(-0.5 * ((since - 0.3) / 0.09) ** 2)
    slap_hz = between(380.0, 750.0, settings.intensity)
    wash = canvas.shaped_noise(lambda f: hump(f, slap_hz, 1.1))
    thump = np.exp(-since * 14.0) * np.sin(2 * np.pi * 2.6 * since) * (1 - since)
    modes = np.array([[70.0, 60.0, 1.0], [160.0, 120.0, 0.7], [310.0, 200.0, 0.4]])
    beat = canvas.resonate(np.diff(thump, prepend=thump[0])[None], modes)
    tail = oscillator(
        turns * 5.3, np.asarray(0.75 ** np.arange(14.0), dtype=np.float64), rng.uniform(0, 6.28, 14)
    )
    whine_hz = rng.uniform(1700.0, 2600.0)
    whine = np.sin(2 * np.pi * turns * (whine_hz / blade)) * (1 + 0.2 * canvas.drift(6.0))
    slap = between(0.8, 1.8, settings.intensity)
    air = canvas.shaped_noise(lambda f: hump(f, 2600.0, 1.0))
    out = slap * (unit_rms(beat) + 1.3 * wash * chop) + 0.1 * air * (0.4 + chop)
    out = out + 0.22 * tail + 0.03 * whine
    return out * (0.15 + 0.85 * near**2) if passing else out


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
