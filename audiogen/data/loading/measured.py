"""Training windows with what is measured of each: controls that a model learns, and traits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from pydantic import ConfigDict, Field
from torch import Tensor

from audiogen.audio.measure.measures import measure_some
from audiogen.audio.measure.traits import Trait, measure_traits
from audiogen.codecs.frames import FrameStream
from audiogen.conditioning.controls import (
    KEY_RANGE,
    MEASURES,
    ControlName,
    Span,
    control_number,
)
from audiogen.types import LatentSpec

PERCENTILES = (1, 99)
"""Of the windows, between which a control's range lies: a few odd ones do not stretch it."""
RANGE_DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class MeasuredWindow:
    """A window of an encoded file.

    Attributes:
        start: its first latent frame.
        measures: numbers by control; NaN where the sound has none, such as the tempo of rain.
        traits: what words are said by, where that is asked for; silence has none.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(ser_json_inf_nan="strings")

    start: Annotated[int, Field(ge=0)]
    measures: Mapping[ControlName, float]
    traits: Mapping[Trait, float] = field(default_factory=dict)


def measure_windows(
    wav: Tensor,
    spec: LatentSpec,
    window_frames: int,
    controls: Sequence[ControlName],
    *,
    traits: bool = False,
) -> tuple[MeasuredWindow, ...]:
    """Measure the windows of a file's wav (C, T); see `measure_blocks`."""
    return measure_blocks([wav], wav.shape[1], spec, window_frames, controls, traits=traits)


def measure_blocks(
    blocks: Iterable[Tensor],
    num_samples: int,
    spec: LatentSpec,
    window_frames: int,
    controls: Sequence[ControlName],
    *,
    traits: bool = False,
) -> tuple[MeasuredWindow, ...]:
    """Measure what a model hears of a file at once: the file, or the windows of a long one.

    Each number is of the very samples whose latents are an item of training, at the codec's rate
    and channels, without padding. Windows of a long file lie half a window apart, and the last one
    ends with it; a measure of the file as a whole would be wrong for most of them. The file comes
    in blocks (C, n), `num_samples` in all; without controls and traits there are no windows.
    """
    if not controls and not traits:
        return ()
    hop = spec.hop_length
    frames = FrameStream((block[None] for block in blocks), hop)
    spare = max(0, -(-num_samples // hop) - window_frames)
    starts = [*range(0, spare, max(1, window_frames // 2)), spare]
    attributes = [MEASURES[name].attribute for name in controls]
    windows = []
    for start in starts:
        heard = frames.window(start, start + window_frames)[0, :, : num_samples - start * hop]
        found = measure_some(heard, spec.sample_rate, attributes) if controls else {}
        values = {name: found[MEASURES[name].attribute] for name in controls}
        numbers = {
            name: math.nan if value is None else control_number(name, value)
            for name, value in values.items()
        }
        said = measure_traits(heard, spec.sample_rate) if traits else {}
        windows.append(MeasuredWindow(start=start, measures=numbers, traits=said))
    return tuple(windows)


def find_ranges(
    windows: Iterable[MeasuredWindow], controls: Iterable[ControlName]
) -> dict[ControlName, Span]:
    """Ranges of controls over training windows, from the 1st percentile to the 99th.

    Raises:
        ValueError: a control has fewer than two values, of which nothing can be learnt.
    """
    found = list(windows)
    ranges: dict[ControlName, Span] = {}
    for name in controls:
        count, (low, high) = spread_of(found, name, PERCENTILES)
        if low >= high:
            raise ValueError(
                f"generator.conditioner.controls: {name} cannot be learnt: no two different values"
                f"\n  {count} of {len(found)} training windows have one"
                "\n  leave it out, or take sounds in which it varies"
            )
        ranges[name] = KEY_RANGE if name == "key" else (low, high)
    return ranges


def spread_of(
    windows: Sequence[MeasuredWindow], name: ControlName, percentiles: tuple[int, int]
) -> tuple[int, Span]:
    """How many windows have a number of a control, and two percentiles of these; 0 of none."""
    measured = [window.measures.get(name, math.nan) for window in windows]
    values = np.array([value for value in measured if not math.isnan(value)])
    low, high = np.percentile(values, percentiles) if len(values) else (0.0, 0.0)
    return len(values), (_rounded(low), _rounded(high))


def _rounded(value: float) -> float:
    return float(f"{value:.{RANGE_DIGITS}g}")
