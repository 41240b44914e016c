"""What a family of textures is: a sound by rule, and words for its settings (`words.yaml`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

from audiogen.data.synthetic.canvas import Canvas, Signal

Render = Callable[[Canvas, "Settings"], Signal]


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
