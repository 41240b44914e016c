"""Which frames are given while training: so one model fills gaps and continues sounds too."""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from audiogen.nn.chance import rand
from audiogen.schema import Config


class InfillConfig(Config):
    """Mixture of training tasks; the rest is made from nothing but the prompt."""

    spans: float = Field(default=0.1, ge=0, le=1)
    """Share of items in which one or two random gaps are filled."""
    prefix: float = Field(default=0.1, ge=0, le=1)
    """Share of items whose beginning is given and continued."""
    suffix: float = Field(default=0.05, ge=0, le=1)
    """Share of items whose end is given and led into."""

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.spans + self.prefix + self.suffix > 1:
            raise ValueError(
                "spans + prefix + suffix are shares of the items and must not exceed 1, got"
                f" {self.spans} + {self.prefix} + {self.suffix}"
            )
        return self

    @property
    def is_on(self) -> bool:
        """Whether any item has frames given."""
        return self.spans + self.prefix + self.suffix > 0


def draw_kept_frames(config: InfillConfig, mask: Tensor) -> Tensor:
    """Draw a task for each item; return which of the real frames `mask` (B, L) are given, (B, L).

    At least one real frame of each item is left to be made.
    """
    num_items, num_frames = mask.shape
    lengths = mask.sum(dim=1)
    place = torch.arange(num_frames, device=mask.device)[None]
    task = rand((num_items,), mask.device)
    border = (rand((num_items, 1), mask.device) * 0.8 + 0.1) * lengths[:, None]
    gaps = _gap(place, lengths) | _gap(place, lengths)
    limits = torch.tensor([config.spans, config.prefix, config.suffix]).cumsum(0).tolist()
    kept = torch.zeros_like(mask)
    kept = torch.where((task < limits[0])[:, None], ~gaps, kept)
    kept = torch.where(((task >= limits[0]) & (task < limits[1]))[:, None], place < border, kept)
    kept = torch.where(((task >= limits[1]) & (task < limits[2]))[:, None], place >= border, kept)
    kept = kept & mask
    full = (kept | ~mask).all(dim=1, keepdim=True)
    return kept & ~full


def _gap(place: Tensor, lengths: Tensor) -> Tensor:
    """A random gap of 5 to 50 % of each item's length: (B, L)."""
    shape = (len(lengths), 1)
    width = (0.05 + 0.45 * rand(shape, place.device)) * lengths[:, None]
    begin = rand(shape, place.device) * (lengths[:, None] - width)
    return (place >= begin) & (place < begin + width.clamp_min(1))
