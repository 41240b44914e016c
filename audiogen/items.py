"""The base of nouns that hold tensors of a batch's items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Items:
    """Tensors whose first dimension is the B items of a batch."""

    def to(self, device: torch.device) -> Self:
        """Return the same on `device`; from pinned memory, without waiting for it."""
        return self.changed(lambda tensor: tensor.to(device, non_blocking=tensor.is_pinned()))

    def pin_memory(self) -> Self:
        """Return the same in memory that a GPU reads by itself, as data loaders ask for it."""
        return self.changed(lambda tensor: tensor.pin_memory())

    def __getitem__(self, items: slice | list[int] | Tensor) -> Self:
        """Return some of the items, in that order."""
        return self.changed(lambda tensor: tensor[items])

    def changed(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Return the same with `change` applied to each tensor, also in the nouns inside."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: _changed(value, change) for name, value in values.items()})


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {name: change(tensor) for name, tensor in value.items()}
    return value.changed(change) if isinstance(value, Items) else value
