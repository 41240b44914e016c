"""Numeric controls: names, ranges, and the roles that a sound can have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Role = Literal["whole", "slice", "loop"]
ROLES: tuple[Role, ...] = ("whole", "slice", "loop")
"""A whole sound with its beginning and end, an excerpt of a longer one, or a seamless loop."""

CONTROL_RANGES: Mapping[str, tuple[float, float]] = {"seconds": (0.0, 30.0), "role": (0.0, 2.0)}
"""Controls every generator knows, with the range that training usually covers."""


def make_controls(
    *, seconds: list[float], roles: list[Role | None] | None = None
) -> dict[str, Tensor]:
    """Controls of a batch, each (B,) float32; a role of None, or no roles, is "not given"."""
    given = roles if roles is not None else [None] * len(seconds)
    numbers = [math.nan if role is None else float(ROLES.index(role)) for role in given]
    return {"seconds": torch.tensor(seconds), "role": torch.tensor(numbers)}
