"""Rooms: first reflections of a shoebox, then a diffuse tail that decays band by band."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from audiogen.data.synthetic.canvas import Canvas, Signal, between

SPEED_OF_SOUND = 340.0  # m/s
SIDES = (1.0, 0.73, 0.47)  # length, width and height of a room, relative to its length
LISTENER = (0.42, 0.37, 0.45)  # away from every plane of symmetry, where echoes would pile up
HIGHEST_ORDER = 2
LOW_HZ, HIGH_HZ = 300.0, 3000.0  # between the three bands of the tail


@dataclass(frozen=True, kw_only=True)
class Room:
    """A closed room.

    Attributes:
        seconds: time in which its middle frequencies decay by 60 dB.
        metres: its longest side.
        brightness: decay time of the highs over that of the middle, in (0, 1]: curtains to stone.
        source: where the sound is, as parts of the three sides.
    """

    seconds: float
    metres: float
    brightness: float
    source: tuple[float, float, float]


def draw_room(size: float, rng: np.random.Generator) -> Room:
    """Draw a room from a small dead one (`size` 0) to a hall (`size` 1).

    The number of draws does not depend on `size`.
    """
    x, y, z = rng.uniform(0.12, 0.88, 3)
    return Room(
        seconds=between(0.18, 2.3, size) * rng.uniform(0.8, 1.25),
        metres=between(2.6, 32.0, size) * rng.uniform(0.8, 1.25),
        brightness=rng.uniform(0.25, 0.9),
        source=(float(x), float(y), float(z)),
    )


def reflections(room: Room) -> Signal:
    """First and second reflections at the walls, by image sources (Allen & Berkley 1979).

    Returns:
        Rows (N, 3) of delay after the direct sound in seconds, gain relative to it, and side from
        -1 (left) to 1 (right).
    """
    sides = room.metres * np.array(SIDES)
    source, listener = sides * room.source, sides * LISTENER
    # A wall's share of amplitude, from Sabine's decay of a room of this volume and surface.
    length, width, height = sides
    surface = 2 * (length * width + width * height + height * length)
    lost = min(0.9, 0.161 * length * width * height / (surface * room.seconds))
    kept = math.sqrt(1 - lost)
    direct = float(np.linalg.norm(source - listener))
    rows = []
    for image in itertools.product(range(-HIGHEST_ORDER, HIGHEST_ORDER + 1), repeat=3):
        order = sum(abs(step) for step in image)
        if not 1 <= order <= HIGHEST_ORDER:
            continue
        steps = np.array(image)
        mirrored = steps * sides + np.where(steps % 2 == 0, source, sides - source)
        apart = mirrored - listener
        metres = float(np.linalg.norm(apart))
        rows.append(
            [(metres - direct) / SPEED_OF_SOUND, kept**order * direct / metres, apart[0] / metres]
        )
    return np.array(rows)


def tail(
    canvas: Canvas, seconds: float, *, brightness: float = 0.5, onset: float = 0.008
) -> Signal:
    """Diffuse sound (C, L) that decays by 60 dB in `seconds`, energy 1 in each channel.

    Exponentially decaying noise (Moorer 1979), another for each channel, in three bands: the highs
    die away in `brightness` times the time, the lows in 1.2 times. It rises within `onset` seconds.
    """
    length = next_fast_len(max(16, round(1.2 * seconds * canvas.sample_rate)), real=True)
    t = np.arange(length) / canvas.sample_rate
    spectrum = rfft(canvas.rng.standard_normal((canvas.num_channels, length)))
    freqs = rfftfreq(length, 1 / canvas.sample_rate)
    deep = 1 / (1 + (freqs / LOW_HZ) ** 6)
    sharp = 1 - 1 / (1 + (freqs / HIGH_HZ) ** 6)
    out = np.zeros((canvas.num_channels, length))
    for weights, slower in ((deep, 1.2), (1 - deep - sharp, 1.0), (sharp, brightness)):
        fall = np.exp(-math.log(1000.0) * t / (slower * seconds))
        out += irfft(spectrum * weights, length) * fall
    out *= np.minimum(t / onset, 1.0)
    return np.asarray(out / np.sqrt(np.sum(out**2, axis=1, keepdims=True)))


def response(canvas: Canvas, room: Room) -> Signal:
    """What the room adds to the direct sound (C, L): reflections and tail, together energy 1.

    The tail takes over where reflections can no longer be told apart, after sqrt(V) milliseconds
    for a volume V in cubic metres (Polack 1988).
    """
    volume = room.metres**3 * math.prod(SIDES)
    onset = max(0.004, math.sqrt(volume) / 1000)
    diffuse = tail(canvas, room.seconds, brightness=room.brightness, onset=onset)
    early = np.zeros_like(diffuse)
    for delay, gain, side in reflections(room):
        start = round(delay * canvas.sample_rate)
        if start >= early.shape[1]:
            continue
        if canvas.num_channels == 1:
            early[0, start] += gain
        else:
            early[:, start] += gain * np.cos(np.pi / 4 * (1 + side * np.array([1.0, -1.0])))
    early *= math.sqrt(0.35 / max(float(np.mean(np.sum(early**2, axis=1))), 1e-12))
    return np.asarray(early + math.sqrt(0.65) * diffuse)
