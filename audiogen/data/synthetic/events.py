"""Rare events: what happens once in a while beside the sound that a clip is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from audiogen.data.synthetic.animals import syllable
from audiogen.data.synthetic.canvas import Canvas, Signal, hump, oscillator
from audiogen.data.synthetic.motion import Passage, carried

Event = Callable[[Canvas], Signal]


def moment(canvas: Canvas, seconds: float) -> float:
    """When something of `seconds` may begin, so that it ends inside the clip if it can."""
    return float(canvas.rng.uniform(0.0, max(0.0, canvas.seconds - seconds)))


def placed(canvas: Canvas, sound: Signal, start: float) -> Signal:
    """A short sound (L,) at `start` seconds, somewhere on the stage: (C, T)."""
    line = np.zeros(canvas.num_samples)
    begin = round(start * canvas.sample_rate)
    piece = sound[: canvas.num_samples - begin]
    line[begin : begin + len(piece)] = piece
    return canvas.pan(line, float(canvas.rng.uniform(-0.8, 0.8)))


def creak(canvas: Canvas) -> Signal:
    """Wood that sticks and slips: pulses at a gliding rate, through a few resonances."""
    rng = canvas.rng
    seconds = float(rng.uniform(0.4, 1.2))
    t = canvas.time(seconds)
    first, last = rng.uniform(18.0, 90.0, 2)
    turns = np.cumsum(np.interp(t, [0.0, seconds], [first, last])) / canvas.sample_rate
    pulses = np.diff(np.floor(turns + 0.15 * np.sin(3.0 * turns)), prepend=0.0)
    pulses *= np.sin(np.pi * t / seconds) * rng.uniform(0.6, 1.0, len(t))
    freqs = canvas.octaves(350.0, 2600.0, 5)
    modes = np.stack([freqs, 40.0 + freqs / 12.0, rng.uniform(0.3, 1.0, 5)], axis=1)
    return placed(canvas, canvas.resonate(pulses[None], modes)[0], moment(canvas, seconds))


def drips(canvas: Canvas) -> Signal:
    """A few drops that fall into still water: each a bubble whose pitch rises."""
    rng = canvas.rng
    count = int(rng.integers(1, 5))
    freqs = canvas.octaves(550.0, 2400.0, 1)[0] * rng.uniform(0.8, 1.25, count)
    grains = canvas.sine_grains(freqs, freqs / 22.0, 0.15, rise=0.25)
    times = np.sort(rng.uniform(0.0, 0.9 * canvas.seconds, count))
    return canvas.add_grains(times, grains * rng.uniform(0.5, 1.0, (count, 1)), width=0.7)


def bird_call(canvas: Canvas) -> Signal:
    """One bird, once: two to five notes."""
    rng = canvas.rng
    centre = float(canvas.octaves(1800.0, 4800.0, 1)[0])
    notes = []
    for _ in range(int(rng.integers(2, 6))):
        shape = np.array([rng.uniform(0.06, 0.25), *rng.uniform(0.75, 1.3, 3), 0.0])
        pause = np.zeros(round(rng.uniform(0.03, 0.12) * canvas.sample_rate))
        notes += [syllable(canvas, shape, centre), pause]
    call = np.concatenate(notes)
    return placed(canvas, call, moment(canvas, len(call) / canvas.sample_rate))


def gull(canvas: Canvas) -> Signal:
    """A gull's long call: falling cries, rich in harmonics."""
    rng = canvas.rng
    pitch = float(rng.uniform(650.0, 1100.0))
    cries = []
    for number in range(int(rng.integers(2, 5))):
        seconds = float(rng.uniform(0.25, 0.5))
        t = canvas.time(seconds)
        sweep = pitch * np.interp(t / seconds, [0.0, 0.2, 1.0], [0.8, 1.15, 0.75])
        turns = np.cumsum(sweep * (1 + 0.01 * np.sin(2 * np.pi * 27.0 * t))) / canvas.sample_rate
        cry = oscillator(turns, 0.72 ** np.arange(8.0), rng.uniform(0.0, 6.28, 8))
        gap = np.zeros(round(0.12 * canvas.sample_rate))
        cries += [cry * np.sin(np.pi * t / seconds) ** 0.7 * 0.85**number, gap]
    call = np.concatenate(cries)
    return placed(canvas, call, moment(canvas, len(call) / canvas.sample_rate))


def gust(canvas: Canvas) -> Signal:
    """One breath of wind that comes and goes."""
    rng = canvas.rng
    middle, width = moment(canvas, 0.0), rng.uniform(0.3, 0.9)
    centre = float(rng.uniform(160.0, 700.0))
    noise = canvas.shaped_noise(lambda f: hump(f, centre, 1.2))
    return noise * np.exp(-0.5 * ((canvas.time() - middle) / width) ** 2)


def passing_car(canvas: Canvas) -> Signal:
    """Tyres on a road some way off."""
    rng = canvas.rng
    passage = Passage(
        speed=float(rng.choice([-1.0, 1.0]) * rng.uniform(9.0, 22.0)),
        metres=float(rng.uniform(8.0, 30.0)),
        nearest=float(rng.uniform(0.2, 0.8)),
    )
    centre = float(rng.uniform(500.0, 1100.0))
    tyres = canvas.mono().shaped_noise(lambda f: hump(f, centre, 0.9) + 0.5 * hump(f, 90.0, 0.7))
    return carried(canvas, tyres, passage)


def rumble(canvas: Canvas) -> Signal:
    """Thunder beyond the horizon: low noise that swells in a few uneven waves."""
    rng = canvas.rng
    since = canvas.time() - moment(canvas, 2.0)
    swell = np.where(since < 0.0, 0.0, np.minimum(since / 0.25, 1.0) * np.exp(-since / 1.1))
    centre = float(rng.uniform(50.0, 110.0))
    noise = canvas.shaped_noise(lambda f: hump(f, centre, 0.9))
    return noise * swell * np.clip(1.0 + 0.5 * canvas.drift(4.0, slope=0.3), 0.1, 3.0)


def thud(canvas: Canvas) -> Signal:
    """Something heavy settles: a log in the fire, a door in another room."""
    rng = canvas.rng
    freqs = canvas.octaves(60.0, 420.0, 6)
    t = canvas.time(0.4)
    knock = canvas.sine_grains(freqs, 12.0 + freqs / 6.0, 0.4) * rng.uniform(0.3, 1.0, (6, 1))
    dust = canvas.mono().shaped_noise(lambda f: hump(f, 1500.0, 1.2))[0, : len(t)]
    sound = knock.sum(axis=0)[: len(dust)]
    sound += 0.15 * dust * np.exp(-25.0 * t[: len(dust)])
    return placed(canvas, sound, moment(canvas, 0.4))


EVENTS: Mapping[str, Event] = {
    "bird call": bird_call,
    "creak": creak,
    "drips": drips,
    "gull": gull,
    "gust": gust,
    "passing car": passing_car,
    "rumble": rumble,
    "thud": thud,
}
