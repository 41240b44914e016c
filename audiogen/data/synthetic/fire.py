"""Fire: lapping flames, hiss and crackle (Farnell, "Designing Sound", chapter "Fire")."""

from __future__ import annotations

import numpy as np

from audiogen.data.synthetic.canvas import Canvas, Signal, between, hump, unit_rms
from audiogen.data.synthetic.family import Settings


def crackle(canvas: Canvas, settings: Settings) -> Signal:
    """Snaps with a heavy tail of sizes, each big one followed by a burst of small ones."""
    rng = canvas.rng
    parents = canvas.poisson_times(between(2.5, 22.0, settings.density))
    broods = rng.poisson(2.5, len(parents))
    children = np.repeat(parents, broods) + rng.exponential(0.03, int(broods.sum()))
    times = np.concatenate([parents, children])
    sizes = np.concatenate([rng.pareto(1.8, len(parents)) + 0.4, rng.random(len(children))])
    sizes = np.minimum(sizes, 5.0)[:, None]
    count = len(times)
    decays = canvas.octaves(500.0, 4000.0, count) / between(1.0, 0.6, settings.brightness)
    woody = canvas.octaves(900.0, 6000.0, count) * between(0.6, 1.4, settings.brightness)
    grains = canvas.noise_grains(decays, 0.012) + 1.2 * canvas.sine_grains(woody, decays, 0.012)
    return canvas.add_grains(times, sizes * grains)


def fire(canvas: Canvas, settings: Settings) -> Signal:
    """Three layers: flames lap (low), gas hisses (high), wood crackles (events)."""
    roar = {"campfire": 0.5, "fireplace": 0.35, "bonfire": 1.5}[settings.kind]
    roar *= between(0.5, 1.8, settings.intensity)
    laps = np.clip(0.6 + 0.5 * canvas.drift(7.0, slope=0.3), 0.2, 3.0) ** 2
    flames = canvas.shaped_noise(lambda f: hump(f, 80.0, 1.0) + 0.25 * hump(f, 450.0, 1.2))
    gusts = 0.3 + np.clip(0.5 + 0.4 * canvas.drift(3.0), 0.0, 1.5) ** 4
    gas = canvas.shaped_noise(lambda f: hump(f, 5500.0, 1.0))
    hiss = 0.15 * between(0.5, 2.0, settings.brightness)
    return unit_rms(crackle(canvas, settings)) + roar * flames * laps + hiss * gas * gusts
