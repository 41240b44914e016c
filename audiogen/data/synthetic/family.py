"""What a family of textures is: a sound by rule, and words for its settings (`words.yaml`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import yaml

from audiogen.data.synthetic.canvas import Canvas, Signal

Render = Callable[[Canvas, "Settings"], Signal]

KINDS: Mapping[str, Mapping[str, Sequence[float]]] = yaml.safe_load(
    Path(__file__).with_name("kinds.yaml").read_text(encoding="utf-8")
)
"""By family and kind, numbers of the synthesis."""
BANDS = ((0.0, 0.22), (0.39, 0.61), (0.78, 1.0))  # low, middle, high; the gaps keep words apart
AFTER_THE_NOUN = ("distance", "reverb")
OPENINGS = ("", "", "", "sound of ", "recording of ")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What varies from clip to clip, each number in [0, 1].

    Attributes:
        kind: variant of the family, e.g. the surface that rain falls on.
        intensity: how forceful the source is; it also sets the level.
        brightness: how much high frequency.
        density: how many events or sources.
        pitch: how high a pitched source sounds.
        rate: tempo of a regular source.
        distance: 0 at the ear, 1 far away.
        reverb: 0 dry, 1 in a large hall.
    """

    kind: str
    intensity: float = 0.5
    brightness: float = 0.5
    density: float = 0.5
    pitch: float = 0.5
    rate: float = 0.5
    distance: float = 0.1
    reverb: float = 0.0


AXES = tuple(field.name for field in fields(Settings) if field.name != "kind")


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family of textures.

    Attributes:
        label: its name in words, e.g. "sea waves"; with dashes it names the folder.
        render: the synthesis.
        kinds: by variant, noun phrases that name it.
        axes: the settings that vary in this family, with adjectives for low, middle and high.
            Distance and reverb are said after a comma, the others before the noun; an empty word
            leaves a level unsaid.
    """

    label: str
    render: Render
    kinds: Mapping[str, Sequence[str]]
    axes: Mapping[str, Sequence[Sequence[str]]]

    @property
    def folder(self) -> str:
        """Name of the family's folder and the stem of its files."""
        return self.label.replace(" ", "-")


def draw_settings(family: Family, kind: str, rng: np.random.Generator) -> Settings:
    """Draw every axis of the family inside one of three bands; the others keep their default."""
    values = {axis: float(rng.uniform(*BANDS[rng.integers(3)])) for axis in family.axes}
    return Settings(kind=kind, **values)


def level_of(value: float) -> int:
    """The band that a setting lies in: 0 low, 1 middle, 2 high."""
    return min(2, int(3 * value))


def caption(family: Family, settings: Settings, rng: np.random.Generator) -> str:
    """One of the many ways to say what the clip is.

    Every word is true of the settings; each setting but one may be left unsaid, so that short
    prompts are known too.
    """
    words = {
        axis: str(rng.choice(family.axes[axis][level_of(getattr(settings, axis))]))
        for axis in AXES
        if axis in family.axes
    }
    said = [axis for axis, word in words.items() if word]
    if len(said) > 1 and rng.random() < 0.35:
        said.remove(str(rng.choice(said)))
    adjectives = [words[axis] for axis in said if axis not in AFTER_THE_NOUN]
    clauses = [words[axis] for axis in said if axis in AFTER_THE_NOUN]
    noun = str(rng.choice(family.kinds[settings.kind]))
    if rng.random() < 0.3:  # "rain on a tin roof, heavy, far away"
        return ", ".join([noun, *adjectives, *clauses])
    opening = str(rng.choice(OPENINGS))
    return ", ".join([opening + " ".join([*adjectives, noun]), *clauses])
