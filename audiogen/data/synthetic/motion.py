"""Sources that move past the listener: louder, to one side, higher in pitch as they come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from audiogen.data.synthetic.canvas import Canvas, Signal
from audiogen.data.synthetic.rooms import SPEED_OF_SOUND

DULLED_HZ = 1200.0  # what is left of a source that is far away
FAINTEST = 0.06  # of its level at the nearest point; a recording has a floor, and so a share of it


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A straight way past the listener.

    Attributes:
        speed: m/s; from left to right, negative from right to left. Slower than sound.
        metres: distance where it is nearest.
        nearest: when that is, as a part of the clip.
    """

    speed: float
    metres: float
    nearest: float


def distance(passage: Passage, time: Signal, seconds: float) -> tuple[Signal, Signal]:
    """Distance in metres at each of `time` (T,), and the side from -1 (left) to 1 (right)."""
    along = passage.speed * (time - passage.nearest * seconds)
    metres = np.hypot(along, passage.metres)
    return metres, along / metres


def carried(canvas: Canvas, sound: Signal, passage: Passage) -> Signal:
    """Carry a sound (C, T) along the passage: (C, T) of one place that moves.

    The sound travels to the ear at its own speed, so what is heard is shifted in pitch by
    1 / (1 + v / c) for a source that recedes with v (Doppler 1842). Its level falls with distance,
    and the highs of it sooner.
    """
    time = canvas.time()
    metres, _ = distance(passage, time, canvas.seconds)
    arrival = time + (metres - metres[0]) / SPEED_OF_SOUND
    sent = np.interp(time, arrival, time)
    beyond = time > arrival[-1]  # sent after the end of the clip; it is read backwards from there
    sent[beyond] += time[beyond] - arrival[-1]
    mono = sound.mean(axis=0)
    heard = map_coordinates(mono, [sent * canvas.sample_rate], order=3, mode="mirror")
    metres, side = distance(passage, sent, canvas.seconds)
    near = passage.metres / metres
    dull = canvas.band(heard[None], 0.0, DULLED_HZ)[0]
    level = FAINTEST + (1 - FAINTEST) * near
    heard = level * (near * heard + (1 - near) * dull)
    if canvas.num_channels == 1:
        return np.asarray(heard[None])
    place = 0.9 * side
    return np.stack([heard * np.cos(np.pi / 4 * (1 + sign * place)) for sign in (1.0, -1.0)])
