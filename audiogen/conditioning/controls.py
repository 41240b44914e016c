"""Numeric controls: length and role of a sound, and measures of it that a model may be told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from audiogen.audio.measure.measures import PITCHES
from audiogen.schema import ConfigError

Role = Literal["whole", "slice", "loop"]
ROLES: tuple[Role, ...] = ("whole", "slice", "loop")
"""A whole sound with its beginning and end, an excerpt of a longer one, or a seamless loop."""

Span = tuple[float, float]
CONTROL_RANGES: Mapping[str, Span] = {"seconds": (0.0, 30.0), "role": (0.0, 2.0)}
"""Controls every generator knows, with the range that training usually covers."""

ControlName = Literal[
    "brightness",
    "density",
    "roughness",
    "stationarity",
    "tonality",
    "pitch",
    "tempo",
    "key",
    "bandwidth",
]
CONTROL_NAMES: tuple[ControlName, ...] = get_args(ControlName)
"""Controls that a generator knows when it was trained with them: measures of the sound."""
ControlValue = float | str
"""A number in the unit of the measure; the key is a text such as Amin."""
Controls = Mapping[str, ControlValue]

KEYS = tuple(
    f"{PITCHES[(7 * fifth + step) % 12]}{mode}"
    for fifth in range(12)
    for step, mode in ((0, "maj"), (9, "min"))
)
"""By fifths from C, each major key before its relative minor: neighbours share most pitches."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a control is measured by.

    Attributes:
        attribute: its name in `SoundMeasures`.
        unit: as it is told; empty for a plain number.
        octaves: whether equal ratios are equal steps of what is heard.
    """

    attribute: str
    unit: str = ""
    octaves: bool = False


MEASURES: Mapping[str, Measure] = {
    "brightness": Measure(attribute="brightness_hz", unit="Hz", octaves=True),
    "density": Measure(attribute="event_density_hz", unit="events per second"),
    "roughness": Measure(attribute="roughness"),
    "stationarity": Measure(attribute="stationarity"),
    "tonality": Measure(attribute="tonality"),
    "pitch": Measure(attribute="pitch_hz", unit="Hz", octaves=True),
    "tempo": Measure(attribute="tempo_bpm", unit="bpm"),
    "key": Measure(attribute="key"),
    "bandwidth": Measure(attribute="bandwidth_hz", unit="Hz", octaves=True),
}
KEY_RANGE: Span = (0.0, float(len(KEYS) - 1))


def control_number(name: str, value: object) -> float:
    """The number that stands for a control's value.

    Raises:
        ValueError: it is no number, or no key; says what is expected, without the name.
    """
    if name == "key":
        if value in KEYS:
            return float(KEYS.index(str(value)))
        raise ValueError(f"expected a key such as Amin or C#maj, got {value!r:.40}")
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError(f"expected a number, got {value!r:.40}")


def parse_controls(texts: Iterable[str]) -> dict[str, ControlValue]:
    """Read NAME=VALUE texts; what is no number stays text.

    Raises:
        ConfigError: a text is none such, or a name is given twice.
    """
    found: dict[str, ControlValue] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (equals and name and value):
            raise ConfigError(f"control {text!r:.60}: expected NAME=VALUE, such as brightness=2500")
        if name in found:
            raise ConfigError(f"control {name!r:.60}: given twice")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = value
    return found


def describe_range(name: str, span: Span) -> str:
    """Say a control with its range and unit: "brightness (212 to 5430 Hz)"."""
    if name == "key":
        return "key (such as Amin or C#maj)"
    unit = MEASURES[name].unit
    return f"{name} ({span[0]:g} to {span[1]:g}{f' {unit}' if unit else ''})"


def place_in_range(name: str, values: Tensor, span: Span) -> Tensor:
    """Values (B,) as parts of their range, 0 to 1; NaN stays NaN.

    A measure beyond the range counts as its end, of which the model thus learns "that or more".
    """
    low, high = span
    measure = MEASURES.get(name)
    if measure is not None:
        values = values.clamp(low, high)
        if measure.octaves:
            return (values / low).log() / math.log(high / low)
    return (values - low) / (high - low)


def make_controls(
    *,
    seconds: list[float],
    roles: list[Role | None] | None = None,
    measures: Sequence[Mapping[str, float]] = (),
) -> dict[str, Tensor]:
    """Controls of a batch, each (B,) float32.

    Args:
        seconds: of each item.
        roles: of each; a role of None, or no roles, is "not given".
        measures: of each, by name; what an item lacks, or has as NaN, is "not given".
    """
    given = roles if roles is not None else [None] * len(seconds)
    numbers = [math.nan if role is None else float(ROLES.index(role)) for role in given]
    controls = {"seconds": torch.tensor(seconds), "role": torch.tensor(numbers)}
    for name in dict.fromkeys(name for item in measures for name in item):
        controls[name] = torch.tensor([item.get(name, math.nan) for item in measures])
    return controls
