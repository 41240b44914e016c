"""Where a clip is heard, apart from what its words say: room, way, events, width, microphone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from audiogen.data.synthetic.canvas import Canvas, Signal, unit_rms
from audiogen.data.synthetic.events import EVENTS
from audiogen.data.synthetic.family import Settings
from audiogen.data.synthetic.motion import Passage
from audiogen.data.synthetic.rooms import Room, draw_room

SCENES: Mapping[str, Mapping[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("scenes.yaml").read_text(encoding="utf-8")
)
"""By family, what may be drawn."""
MONO_SHARE = 0.12
EVENT_SHARE = 0.2
SLOWEST_THAT_PASSES = 0.35  # of the rate: what idles stands still


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What surrounds the source of a clip. It is drawn before a sample is, at no sample rate.

    Attributes:
        room: the room it stands in; None in the open air.
        wet: amplitude of the room's sound beside the direct one.
        passage: the way of a source that passes; None for one that stays.
        event: a name in `EVENTS`, or None.
        event_db: peak of the event over the RMS of the clip.
        width: of the stereo image, 0 mono, 1 as rendered.
        tilt_db: of the microphone's response, dB an octave around 1 kHz.
        low_hz: corner below which the microphone hears less.
        high_hz: corner above which it hears less.
        floor_db: RMS of the background, dBFS.
        floor_hz: corner above which the background falls by 6 dB an octave.
    """

    room: Room | None = None
    wet: float = 0.0
    passage: Passage | None = None
    event: str | None = None
    event_db: float = 0.0
    width: float = 1.0
    tilt_db: float = 0.0
    low_hz: float = 25.0
    high_hz: float = 30000.0
    floor_db: float = -68.0
    floor_hz: float = 400.0


def draw_scene(label: str, settings: Settings, rng: np.random.Generator) -> Scene:
    """Draw what surrounds a clip of the family `label`.

    A family whose words tell of reverb has its room from them. A source that idles does not pass.
    """
    told = SCENES[label]
    share, smallest, largest = told["rooms"]
    is_inside = rng.random() < share
    size = rng.uniform(smallest, largest)
    if settings.reverb:
        is_inside, size = True, settings.reverb
    room = draw_room(size, rng)
    wet = (0.55 if settings.reverb else rng.uniform(0.1, 0.55)) * (0.35 + 0.65 * size)
    share, slowest, fastest = told["moving"]
    is_passing = rng.random() < share and settings.rate > SLOWEST_THAT_PASSES
    passage = Passage(
        speed=float(rng.choice([-1.0, 1.0]) * rng.uniform(slowest, fastest)),
        metres=max(1.5, fastest * rng.uniform(0.25, 0.9)),
        nearest=rng.uniform(0.15, 0.85),
    )
    happens = rng.random() < EVENT_SHARE
    event = str(rng.choice(told["events"]))
    is_mono = rng.random() < MONO_SHARE
    width = rng.uniform(0.25, 1.25)
    return Scene(
        room=room if is_inside else None,
        wet=wet if is_inside else 0.0,
        passage=passage if is_passing else None,
        event=event if happens else None,
        event_db=rng.uniform(-4.0, 8.0),
        width=0.0 if is_mono else width,
        tilt_db=rng.normal(0.0, 0.5),
        low_hz=float(np.exp(rng.uniform(np.log(20.0), np.log(60.0)))),
        high_hz=float(np.exp(rng.uniform(np.log(10000.0), np.log(40000.0)))),
        floor_db=rng.uniform(-74.0, -62.0),
        floor_hz=float(np.exp(rng.uniform(np.log(100.0), np.log(3000.0)))),
    )


def with_event(canvas: Canvas, sound: Signal, scene: Scene) -> Signal:
    """The sound (C, T) with the event of the scene in it, if there is one."""
    if scene.event is None:
        return sound
    event = EVENTS[scene.event](canvas)
    peak = float(np.abs(event).max())
    if peak == 0.0:
        return sound
    return unit_rms(sound) + 10 ** (scene.event_db / 20) / peak * event


def widened(sound: Signal, width: float) -> Signal:
    """The stereo sound (2, T) with its side scaled: 0 is mono, 1 leaves it. Mono stays as it is."""
    if len(sound) == 1 or width == 1.0:
        return sound
    middle = sound.mean(axis=0)
    return np.asarray(middle + width * (sound - middle))
