"""What the configuration of a generator says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator

from audiogen.conditioning.conditioner import ConditionerConfig
from audiogen.conditioning.controls import ControlName, Span
from audiogen.schema import Config


class GeneratorConfig(Config):
    """What the configuration of every generator says."""

    type: str
    conditioner: ConditionerConfig = ConditionerConfig()

    def with_ranges(self, ranges: Mapping[ControlName, Span]) -> Self:
        """Return the same with ranges for the controls that have none."""
        filled = self.conditioner.with_ranges(ranges)
        return self.model_copy(update={"conditioner": filled})


class NetworkConfig(GeneratorConfig):
    """The size of a generator's Transformer."""

    dim: int = Field(default=384, gt=0)
    depth: int = Field(default=8, gt=0)
    num_heads: int = Field(default=6, gt=0)

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.dim % self.num_heads or self.dim // self.num_heads % 2:
            raise ValueError(
                f"dim={self.dim} must be a multiple of twice num_heads={self.num_heads}"
            )
        return self
