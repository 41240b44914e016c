"""Draws the settings of a clip and says them in words."""

from __future__ import annotations

import numpy as np

from audiogen.data.synthetic.family import AXES, Family, Settings

BANDS = ((0.0, 0.22), (0.39, 0.61), (0.78, 1.0))  # low, middle, high; the gaps keep words apart
AFTER_THE_NOUN = ("distance", "reverb")
OPENINGS = ("", "", "", "sound of ", "recording of ")


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
