"""Rain, wind and thunder (Farnell, "Designing Sound", chapters of these names)."""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve

from audiogen.data.synthetic.canvas import Canvas, Signal, between, hump, unit_rms
from audiogen.data.synthetic.family import KINDS, Settings

SPEED_OF_SOUND = 340.0  # m/s


def rain(canvas: Canvas, settings: Settings) -> Signal:
    """Drops one by one over the hiss of those too many to be told apart."""
    low_hz, high_hz, slow, fast, noise, hiss_hz = KINDS["rain"][settings.kind]
    times = canvas.poisson_times(between(18.0, 380.0, settings.intensity))
    count = len(times)
    sizes = canvas.rng.lognormal(0.0, 0.8, count)[:, None]
    shift = between(0.75, 1.3, settings.brightness)
    freqs = shift * canvas.octaves(low_hz, high_hz, count)
    decays = canvas.octaves(slow, fast, count)
    ring = canvas.sine_grains(freqs, decays, 0.03)
    burst = canvas.noise_grains(2.0 * decays, 0.03)
    grains = sizes * ((1.0 - noise) * ring + noise * burst)
    drops = canvas.add_grains(times, grains)
    if noise > 0.5:
        drops = canvas.band(drops, shift * low_hz, shift * high_hz)
    if settings.kind == "tin roof":  # the sheet itself rings under every drop
        modes = canvas.octaves(380.0, 3200.0, 9), canvas.rng.uniform(50, 120, 9), np.full(9, 0.25)
        drops = drops + canvas.resonate(0.3 * drops, np.stack(modes, axis=1))
    centre = shift * hiss_hz
    hiss = canvas.shaped_noise(lambda f: hump(f, centre, 1.1) + 0.3 * hump(f, 2.0 * centre, 1.0))
    swell = 1.0 + 0.08 * canvas.drift(2.0)
    loudest = 0.9 if settings.kind == "tin roof" else 1.5  # the roof drums, it does not hiss
    return unit_rms(drops) + between(0.2, loudest, settings.intensity) * hiss * swell


def wind(canvas: Canvas, settings: Settings) -> Signal:
    """Turbulence noise whose level, cutoff and whistles follow one wind speed."""
    low_hz, high_hz, width, howl, rustle = KINDS["wind"][settings.kind]
    rng = canvas.rng
    gusts = canvas.drift(between(0.5, 1.6, settings.density), slope=0.8)
    force = between(0.45, 1.0, settings.intensity)
    depth = between(0.2, 0.45, settings.density)
    speed = force * np.clip(1.0 + depth * gusts, 0.15, 1.8)
    flutter = np.clip(1.0 + 0.5 * canvas.drift(9.0, slope=0.2), 0.1, 3.0)
    whistles = canvas.octaves(low_hz, high_hz, 3)
    levels = howl * rng.uniform(0.4, 1.0, 3)
    lags = rng.integers(0, max(1, round(0.2 * canvas.seconds * canvas.sample_rate)), 3)
    tone = between(0.7, 1.5, settings.brightness)

    def magnitude(freqs: Signal, middles: Signal) -> Signal:
        index = middles.astype(np.int64)
        now = speed[index]
        cutoff = tone * (120.0 + 500.0 * now)
        total = 2.5 * now**1.5 / (1 + (freqs / cutoff) ** 2) * (freqs / (freqs + 60.0))
        for centre, level, lag in zip(whistles, levels, lags, strict=True):
            late = speed[np.maximum(index - lag, 0)]  # each obstacle hears the gust later
            total = total + level * late**2 * hump(freqs, centre * (0.6 + 0.5 * late), width)
        leaves = rustle * now**2 * flutter[index]
        return np.asarray(total + leaves * hump(freqs, tone * 3400.0, 0.8))

    return canvas.moving_noise(magnitude)


def thunder(canvas: Canvas, settings: Settings) -> Signal:
    """A lightning channel heard piece by piece: each segment sends an N-wave (Few 1969)."""
    rng = canvas.rng
    crack = settings.kind == "clap"
    away = between(250.0, 4000.0, settings.distance)
    steps = rng.standard_normal((3, 500)) * (7.0 if crack else 20.0)  # a tortuous random walk
    steps[2] = np.abs(steps[2]) * (1.0 if crack else 0.4)
    steps[0] += 0.0 if crack else 8.0  # rolling thunder runs along the cloud, away from the ear
    x, y, z = np.cumsum(steps, axis=1)
    ranges = np.sqrt((away + x) ** 2 + y**2 + z**2)
    times = (ranges - ranges.min()) / SPEED_OF_SOUND
    times = times + min(rng.uniform(0.05, 0.35), 0.1 * canvas.seconds)
    heard = times < canvas.seconds
    sizes = (ranges.min() / ranges[heard]) * rng.pareto(2.5, int(heard.sum())) + 0.05
    # The N-wave is longer the more energy is set free and the farther it has travelled.
    length = between(0.004, 0.03, settings.distance) * (1.0 if crack else 1.8)
    count = max(8, round(length * canvas.sample_rate))
    wave = np.linspace(1.0, -1.0, count) * np.hanning(count) ** 0.25
    claps = canvas.add_grains(times[heard], sizes[:, None] * wave, width=0.8)
    since = canvas.time() - times[heard].min()
    # What comes late has come far: only the first instants are sharp.
    sharp = np.where(since < 0.0, 1.0, np.exp(-np.maximum(since, 0.0) / 0.35))
    claps = sharp * claps + (1.0 - sharp) * canvas.band(claps, 0.0, 350.0)
    swell = np.zeros(canvas.num_samples)
    np.maximum.at(swell, (times[heard] * canvas.sample_rate).astype(np.int64), sizes)
    fall = np.exp(-np.arange(canvas.num_samples) / canvas.sample_rate / (0.25 if crack else 0.7))
    swell = fftconvolve(swell, fall)[: canvas.num_samples]
    swell /= swell.max()
    rumble = canvas.shaped_noise(lambda f: hump(f, 65.0, 0.9) + 0.1 * hump(f, 250.0, 1.0))
    rumble *= swell * np.clip(1.0 + 0.45 * canvas.drift(6.0, slope=0.2), 0.1, 3.0)
    out = unit_rms(claps) + between(1.1, 1.6, settings.distance) * unit_rms(rumble)
    if crack:  # the tearing sound of the nearest branches
        tear = canvas.shaped_noise(lambda f: hump(f, 1800.0, 1.4))
        shape = np.where(since > 0.0, np.exp(-since * 7.0), 0.0) * np.minimum(since / 0.003, 1.0)
        snaps = np.clip(1.0 + canvas.drift(40.0, slope=0.0), 0.0, 4.0)
        out = out + between(5.0, 0.8, settings.distance) * tear * np.maximum(shape, 0.0) * snaps
    return out
