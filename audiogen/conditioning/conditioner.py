"""The trained part of conditioning: text states and controls to what the network sees."""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import BeforeValidator, Field, field_validator, model_validator
from torch import Tensor, nn

from audiogen.conditioning.controls import (
    CONTROL_RANGES,
    KEY_RANGE,
    MEASURES,
    ControlName,
    Controls,
    ControlValue,
    Span,
    control_number,
    describe_range,
    place_in_range,
)
from audiogen.nn.chance import rand
from audiogen.schema import Config, ConfigError
from audiogen.types import Conditions, Context

AnyRange = Span | Literal["auto"]

WORDS_ALONE = 0.5
"""Share of items that are told no measure. Were it drawn like the numbers of the others, a model of
seven controls would see one item in eight without them, and learn its words from that one alone:
where brightness, pitch and tempo are told, words add little."""


def _names_with_auto(value: Any) -> Any:
    """Let a list of names be a mapping of them to `auto`."""
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        return dict.fromkeys(value, "auto")
    return value


class ConditionerConfig(Config):
    """What a model can be told besides the prompt, and how conditions are dropped in training."""

    prompt_dropout: float = Field(default=0.1, ge=0, le=1)
    """Share of items trained without prompt; guidance needs some."""
    control_dropout: float = Field(default=0.2, ge=0, le=1)
    """Share of items trained without their length, and of those without their role or a control
    that has a default. Half of the items are trained without any other control, as most takes are
    asked for; how many the rest is trained without is drawn for each, from none to all, so that
    any number of them may be given. With 0 here none is left out."""
    controls: Annotated[dict[ControlName, AnyRange], BeforeValidator(_names_with_auto)] = Field(
        default_factory=dict
    )
    """Measures of a sound that the model learns to follow, such as [brightness, density]. In a
    model each has its range. A recipe may give one; auto is that of the training sounds from the
    1st percentile to the 99th."""
    defaults: dict[ControlName, ControlValue] = Field(default_factory=dict)
    """Values of controls that a take has where it asks for none, such as {bandwidth: 20000} of a
    model that has learnt from many MP3 files, whose end at 16 kHz is not theirs."""

    @field_validator("controls")
    @classmethod
    def _ranges_rise(cls, controls: dict[ControlName, AnyRange]) -> dict[ControlName, AnyRange]:
        for name, span in controls.items():
            if span == "auto":
                continue
            low, high = span
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(f"{name}: a range rises, such as [0, 1]")
            if MEASURES[name].octaves and low <= 0:
                raise ValueError(f"{name}: it is heard in octaves; its range begins above 0")
            if name == "key" and span != KEY_RANGE:
                raise ValueError("key: it has no range of its own")
        return controls

    @model_validator(mode="after")
    def _defaults_are_of_controls(self) -> Self:
        for name, value in self.defaults.items():
            if name not in self.controls:
                raise ValueError(f"defaults: {name} is not among the controls of this model")
            control_number(name, value)
        return self

    @property
    def without_range(self) -> list[ControlName]:
        """Controls whose range is that of the training sounds, and not known yet."""
        return sorted(name for name, span in self.controls.items() if span == "auto")

    @property
    def ranges(self) -> dict[str, Span]:
        """Of the controls.

        Raises:
            ValueError: one has none yet.
        """
        found = {str(name): span for name, span in self.controls.items() if span != "auto"}
        if missing := self.without_range:
            raise ValueError(
                f"conditioner.controls: no range for {', '.join(missing)}\n"
                "  give one, such as {brightness: [200, 8000]}; training takes those of its sounds"
            )
        return found

    def with_ranges(self, ranges: Mapping[ControlName, Span]) -> Self:
        """Return the same with ranges for the controls that have none yet."""
        filled = {
            name: ranges.get(name, span) if span == "auto" else span
            for name, span in self.controls.items()
        }
        return self.model_copy(update={"controls": filled})

    def numbers(self, controls: Controls) -> dict[str, float]:
        """The numbers that stand for the values of controls, and for those of `defaults`.

        Raises:
            ConfigError: the model was not trained with one of them, or not with such a value.
        """
        ranges = self.ranges
        numbers = {
            str(name): min(max(control_number(name, value), ranges[name][0]), ranges[name][1])
            for name, value in self.defaults.items()
        }
        problems = []
        for name, value in controls.items():
            try:
                numbers[name] = _number_in(ranges, name, value)
            except ValueError as error:
                problems.append(str(error))
        if problems:
            known = ", ".join(describe_range(name, span) for name, span in ranges.items())
            lines = ["controls:", "; ".join(problems), *([f"it has {known}"] if known else [])]
            raise ConfigError("\n  ".join(lines))
        return numbers


def _number_in(ranges: Mapping[str, Span], name: str, value: object) -> float:
    """The number of one control's value; ValueError when a model with such ranges knows it not."""
    if not ranges:
        raise ValueError(
            f"{name:.40}: this model was trained without controls; see"
            " generator.conditioner.controls in the recipe"
        )
    if name not in ranges:
        near = get_close_matches(name, ranges, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{name:.40}: this model was not trained with it{hint}")
    try:
        number = control_number(name, value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    low, high = ranges[name]
    if not low <= number <= high:
        raise ValueError(f"{name}: {number:g} is outside of what this model knows")
    return number


class Conditioner(nn.Module):
    """Projects conditions to width `dim`; learnt vectors stand for what is not given."""

    def __init__(self, config: ConditionerConfig, text_dim: int, dim: int) -> None:
        super().__init__()
        self.config = config
        self.text = nn.Linear(text_dim, dim)
        self.pooled = nn.Linear(text_dim, dim)
        self.null_token = nn.Parameter(torch.randn(dim) * 0.02)
        self.null_pooled = nn.Parameter(torch.zeros(dim))
        ranges = config.ranges
        self.measures = tuple(ranges)
        self.ranges: dict[str, Span] = {**CONTROL_RANGES, **ranges}
        self.controls = nn.ModuleDict(
            {name: ControlEmbedding(dim) for name in CONTROL_RANGES}
            | {name: MeasureEmbedding(dim, distinct=name == "key") for name in self.measures}
        )

    def keep_all(self) -> None:
        """Drop nothing while training from now on."""
        self.config = self.config.model_copy(update={"prompt_dropout": 0.0, "control_dropout": 0.0})

    def forward(self, conditions: Conditions) -> Context:
        """Project conditions of B items; while training, drop some of them at random.

        Returns:
            Context whose sequence (B, 1 + N, dim) begins with a learnt token that is always there.
        """
        batch = len(conditions)
        given = conditions.text_mask.any(dim=1)
        if self.training:
            given = given & (rand(given.shape, given.device) >= self.config.prompt_dropout)
        null = self.null_token.expand(batch, 1, -1)
        sequence = torch.cat([null, self.text(conditions.text)], dim=1)
        mask = torch.cat(
            [torch.ones_like(given)[:, None], conditions.text_mask & given[:, None]], dim=1
        )
        vector = torch.where(given[:, None], self.pooled(conditions.pooled), self.null_pooled)
        for name, value in self._control_values(conditions).items():
            vector = vector + self.controls[name](value)
        return Context(sequence=sequence, mask=mask, vector=vector)

    def _control_values(self, conditions: Conditions) -> dict[str, Tensor]:
        """Each control (B,) as a part of its range; NaN where it is not given, or dropped."""
        unknown = conditions.controls.keys() - self.controls.keys()
        if unknown:
            raise ValueError(f"conditions: this model has no controls {sorted(unknown)}")
        absent = conditions.pooled.new_full((len(conditions),), torch.nan)
        values = {
            name: place_in_range(name, conditions.controls.get(name, absent), span)
            for name, span in self.ranges.items()
        }
        if not self.training:
            return values
        share, always = self.config.control_dropout, {*CONTROL_RANGES, *self.config.defaults}
        # At once: on a device each draw is a launch.
        numbers = rand((len(absent), 2 + len(values)), absent.device)
        alone, part, *chances = numbers.unbind(dim=1)
        asked = part.masked_fill(alone < WORDS_ALONE, 1.0) * (share > 0)
        kept = {}
        for (name, value), chance in zip(values.items(), chances, strict=True):
            dropped = chance < (share if name in always else asked)
            kept[name] = value.masked_fill(dropped, torch.nan)
        return kept


class ControlEmbedding(nn.Module):
    """A number in about [0, 1], or NaN for "not given", as a vector."""

    frequencies: Tensor

    def __init__(self, dim: int, num_frequencies: int = 16, octaves: float = 5.0) -> None:
        super().__init__()
        frequencies = 2 ** torch.linspace(0, octaves, num_frequencies) * torch.pi / 2
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.mlp = nn.Sequential(
            nn.Linear(2 * num_frequencies, dim), nn.SiLU(), nn.Linear(dim, dim)
        )
        self.null = nn.Parameter(torch.zeros(dim))

    def forward(self, value: Tensor) -> Tensor:
        """Map (B,) to (B, dim)."""
        angles = value.nan_to_num()[:, None] * self.frequencies
        known = self.mlp(torch.cat([angles.sin(), angles.cos()], dim=1))
        return torch.where(value.isnan()[:, None], self.null, known)


class MeasureEmbedding(ControlEmbedding):
    """A control that is to be followed after hundreds of steps, not hundreds of thousands.

    Its waves are long, so that neighbouring values are alike from the start, and its vectors have
    about unit variance: with those of `ControlEmbedding` small models hardly hear it.
    """

    def __init__(self, dim: int, *, distinct: bool) -> None:
        """Make one for numbers, or for values that are distinct, such as keys."""
        super().__init__(dim, octaves=5.0 if distinct else 3.0)
        last = nn.Linear(dim, dim)
        # What comes out of the first layer and SiLU has a root mean square of a quarter.
        nn.init.normal_(last.weight, std=4 * dim**-0.5)
        self.mlp[-1] = last
