"""Classifier-free guidance (Ho and Salimans 2022): the one formula."""

from __future__ import annotations

from torch import Tensor


def guided(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Return uncond + scale (cond - uncond); a scale of 1 is `conditional`."""
    return unconditional + scale * (conditional - unconditional)
