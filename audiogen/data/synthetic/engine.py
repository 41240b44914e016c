"""Engines: who fires when, how hard, and through which pipe and block it is heard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from audiogen.data.synthetic.canvas import Canvas, Signal, between, hump, oscillator, unit_rms
from audiogen.data.synthetic.family import KINDS, Settings

# Firing points of an engine in parts of its work cycle, which takes two turns, by cylinders.
FIRING: dict[int, tuple[tuple[float, ...], ...]] = {
    1: ((0.0,),),
    2: ((0.0, 0.5), (0.0, 0.42), (0.0, 0.375), (0.0, 0.25)),  # parallel, V-twins, a crossplane
    3: ((0.0, 1 / 3, 2 / 3),),
    4: ((0.0, 0.25, 0.5, 0.75), (0.0, 0.25, 0.46, 0.79)),  # in line; boxer with unequal pipes
    6: (tuple(np.arange(6) / 6),),
    8: (
        tuple(np.arange(8) / 8),
        (0.0, 0.11, 0.26, 0.36, 0.5, 0.63, 0.74, 0.89),
    ),  # flat, crossplane
}
CYLINDERS = {"diesel": (4, 4, 6), "motorbike": (1, 2, 2, 4), "car": (3, 4, 4, 6, 8), "mower": (1,)}
IDLE, REVVING = 0.33, 0.67  # of the rate: below the first an engine idles, above the second it revs


@dataclass(frozen=True)
class Course:
    """How fast an engine turns and how hard it works, over a clip.

    Attributes:
        speed: (T,) relative to the mean of the clip.
        load: (T,) from 0 (coasting) to 1 (full throttle).
    """

    speed: Signal
    load: Signal


def curve(canvas: Canvas, times: Signal, values: Signal) -> Signal:
    """Smooth curve (T,) through `values` at `times` in seconds."""
    points = int(canvas.seconds * 50) + 2
    grid = np.arange(points) / 50
    path = np.interp(grid, times, values)
    weights = np.hanning(15) / np.hanning(15).sum()
    smooth = np.convolve(np.pad(path, 7, mode="edge"), weights, mode="valid")
    return np.asarray(np.interp(canvas.time(), grid, smooth))


def course(canvas: Canvas, rate: float) -> Course:
    """Draw what the driver does: hold, hunt, blip the throttle, or go up through the gears."""
    rng = canvas.rng
    seconds = canvas.seconds
    ways = ["hold", "hunt", "blips"] if rate < IDLE else ["hold", "hold", "blips", "gears"]
    way = str(rng.choice(ways if rate < REVVING else ["hold", "blips", "blips", "gears"]))
    ones = np.ones(canvas.num_samples)
    load = rng.uniform(0.1, 0.9) * ones if rate > IDLE else rng.uniform(0.1, 0.4) * ones
    speed = ones
    if way == "hunt":  # an idle that is governed badly
        period, depth = rng.uniform(0.6, 2.2), rng.uniform(0.02, 0.1)
        phase = 2 * np.pi * canvas.time() / period + rng.uniform(0.0, 6.28)
        speed = 1 + depth * np.sin(phase)
        load = np.clip(load + 2.5 * depth * np.cos(phase), 0.05, 1.0)
    elif way == "blips":
        times, values = [0.0], [0.85]
        clock, top = rng.uniform(0.1, 0.8), rng.uniform(1.15, 1.5 + rate)
        while clock < seconds:
            rise, held, fall = rng.uniform([0.12, 0.0, 0.4], [0.5, 0.6, 1.2])
            times += [clock, clock + rise, clock + rise + held, clock + rise + held + fall]
            values += [0.85, top * rng.uniform(0.85, 1.0), top, 0.85]
            clock = times[-1] + rng.uniform(0.2, 1.6)
        speed = curve(canvas, np.array(times), np.array(values))
        change = np.gradient(speed) * canvas.sample_rate
        load = np.clip(0.25 + 0.5 * change, 0.05, 1.0)
    elif way == "gears":
        times, values, loads, clock = [0.0], [rng.uniform(0.7, 1.0)], [0.9], 0.0
        while clock < seconds:
            pull, drop = rng.uniform(0.8, 2.4), rng.uniform(0.62, 0.8)
            times += [clock + pull, clock + pull + 0.25]
            values += [values[-1] * rng.uniform(1.25, 1.6), 0.0]
            values[-1] = values[-2] * drop
            loads += [1.0, 0.1]
            clock = times[-1]
        speed = curve(canvas, np.array(times), np.array(values))
        load = curve(canvas, np.array(times), np.array(loads))
    wobble = rng.uniform(0.003, 0.02) * canvas.drift(3.0) + 0.004 * canvas.drift(20.0, slope=0.0)
    speed = np.clip(speed / speed.mean(), 0.4, 2.5) * (1 + wobble)
    return Course(speed, np.clip(load + 0.05 * canvas.drift(1.0), 0.05, 1.0))


def firings(canvas: Canvas, turns: Signal, offsets: Signal) -> tuple[Signal, Signal]:
    """When each cylinder fires (N,) in seconds, and how hard (N,).

    Cylinders differ, no two strokes are alike, and some engines miss now and then.
    """
    rng = canvas.rng
    uneven, rough = rng.uniform(0.02, 0.3), rng.uniform(0.03, 0.2)
    missing = rng.uniform(0.02, 0.12) if rng.random() < 0.25 else 0.0
    time = canvas.time()
    all_times, all_forces = [], []
    for offset in offsets:
        strokes = np.arange(1, int(turns[-1]) + 1) - offset
        times = np.interp(strokes[strokes > turns[0]], turns, time)
        force = (1 - uneven * rng.random()) * (1 + rough * rng.standard_normal(len(times)))
        all_times.append(times)
        all_forces.append(force * (rng.random(len(times)) >= missing))
    return np.concatenate(all_times), np.concatenate(all_forces)


def impulses(canvas: Canvas, times: Signal, heights: Signal) -> Signal:
    """Impulses (T,) at `times` in seconds, each shared by its two samples, so that none jitters."""
    position = np.clip(times * canvas.sample_rate, 0.0, canvas.num_samples - 2.0)
    first = position.astype(np.int64)
    part = position - first
    out = np.bincount(first, heights * (1 - part), canvas.num_samples)
    return np.asarray(out + np.bincount(first + 1, heights * part, canvas.num_samples))


def decaying(canvas: Canvas, signal: Signal, seconds: float) -> Signal:
    """The signal (T,) with an exponential after each of its impulses, of height 1."""
    keep = np.exp(-1 / (seconds * canvas.sample_rate))
    return np.asarray(lfilter([1.0], [1.0, -keep], signal))


def pipe_modes(canvas: Canvas, settings: Settings) -> Signal:
    """Resonances (N, 3) of the exhaust: odd multiples of a quarter wave, and of its silencer."""
    rng = canvas.rng
    low, high = {"diesel": (38, 90), "motorbike": (70, 190), "car": (45, 120), "mower": (90, 260)}[
        settings.kind
    ]
    pipe = float(rng.uniform(low, high))
    orders = np.array([1.0, 3.0, 5.0, 7.0, 9.0, 13.0])
    tone = between(0.55, 1.0, settings.brightness) * rng.uniform(0.85, 1.0)
    sharpness = rng.uniform(0.6, 2.2)
    rows = [pipe * orders, (60.0 + 12.0 * orders) / sharpness, tone ** np.arange(6)]
    freqs = canvas.octaves(130.0, 1600.0, 3)
    box = [freqs, freqs / rng.uniform(2.0, 8.0), rng.uniform(0.1, 0.8, 3)]
    return np.concatenate([np.stack(rows, axis=1), np.stack(box, axis=1)])


def engine(canvas: Canvas, settings: Settings) -> Signal:
    """Firings through the exhaust, and the block: knock, valves, gears, belts and fan.

    After Farnell, "Cars", and Baldan et al. 2015: one work cycle takes two turns.
    """
    rng = canvas.rng
    slow, fast, clatter, rasp = KINDS["engine"][settings.kind]
    alone = canvas.mono()
    cycles = between(slow, fast, settings.rate) / 120.0
    ways = FIRING[int(rng.choice(CYLINDERS[settings.kind]))]
    offsets = np.array(ways[rng.integers(len(ways))])
    run = course(canvas, settings.rate)
    turns = cycles * np.cumsum(run.speed) / canvas.sample_rate + rng.random()
    times, forces = firings(canvas, turns, offsets)
    index = np.minimum((times * canvas.sample_rate).astype(np.int64), canvas.num_samples - 1)
    forces = forces * (0.45 + 0.8 * run.load[index])
    fired = impulses(canvas, times, forces)
    length = 0.0022 * rng.uniform(0.6, 2.0)
    pulses = decaying(canvas, fired, length) - decaying(canvas, fired, 0.25 * length)
    ripple = (pulses - pulses.mean())[None]
    body = unit_rms(alone.resonate(ripple, pipe_modes(canvas, settings)))
    bare = rng.uniform(0.1, 0.7)  # what does not go through the resonances
    exhaust = body + bare * unit_rms(ripple)
    if rng.random() < 0.6:  # a silencer
        exhaust = alone.band(exhaust, 0.0, between(1200.0, 8000.0, settings.brightness))
    gas_hz = between(600.0, 1400.0, settings.brightness) * rng.uniform(0.7, 1.8)
    gas = alone.shaped_noise(lambda f: hump(f, gas_hz, 1.5))
    puffs = decaying(canvas, fired, rng.uniform(0.002, 0.012)) * (0.5 + run.load)
    breath = between(0.35, 1.2, settings.brightness) * rng.uniform(0.4, 1.4) * (0.5 + rasp)
    exhaust = unit_rms(exhaust) + breath * unit_rms(gas * puffs)

    knock_hz = float(rng.uniform(1800.0, 3600.0))
    valves = impulses(canvas, times + 0.13 / cycles, rng.uniform(0.2, 1.0, len(times)))
    strokes = unit_rms(decaying(canvas, fired, 0.0012)) * (0.1 + clatter)
    strokes = strokes + rng.uniform(0.1, 0.6) * unit_rms(decaying(canvas, valves, 0.0008))
    block = strokes * alone.shaped_noise(lambda f: hump(f, knock_hz, 0.9))[0]
    order = float(rng.uniform(9.0, 40.0))  # teeth of a gear, blades of an alternator, a turbine
    whine = oscillator(turns * order, 0.5 ** np.arange(4.0), rng.uniform(0.0, 6.28, 4))
    block = block + 10 ** rng.uniform(-2.3, -0.9) * whine * (0.3 + run.load)
    fan_hz = float(rng.uniform(300.0, 2500.0))
    fan = canvas.shaped_noise(lambda f: hump(f, fan_hz, 1.7))
    place = float(rng.uniform(0.1, 0.6))
    near = between(0.2, 0.9, rng.random())  # how near the block is, beside the exhaust
    out = canvas.pan(exhaust[0], -place) + near * canvas.pan(block, place)
    return out + 10 ** rng.uniform(-1.3, -0.3) * fan * (0.6 + 0.4 * run.speed)
