"""The size of the Transformer that our generators have."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from audiogen.generators.base import GeneratorConfig


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
