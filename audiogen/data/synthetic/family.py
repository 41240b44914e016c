"""What a family of textures is: a label, a sound by rule, and words for its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from audiogen.data.synthetic.canvas import Canvas, Signal

Wordings = tuple[str, ...]
Levels = tuple[Wordings, Wordings, Wordings]  # low, middle, high; "" is a level left unsaid


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
            Distance and reverb are said after a comma, the others before the noun.
    """

    label: str
    render: Callable[[Canvas, Settings], Signal]
    kinds: Mapping[str, Wordings]
    axes: Mapping[str, Levels]

    @property
    def folder(self) -> str:
        """Name of the family's folder and the stem of its files."""
        return self.label.replace(" ", "-")


DISTANCE: Levels = (
    ("close up", "nearby", "very near"),
    ("",),
    ("far away", "in the distance", "distant"),
)
REVERB: Levels = (
    ("dry", "without reverb", "in a small dead room"),
    ("in a room", "with some reverb"),
    ("in a hall", "with long reverb", "echoing in a big empty space"),
)
