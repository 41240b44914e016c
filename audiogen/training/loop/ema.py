"""Exponential moving average of a module's weights: what is sampled from and exported."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from audiogen.training.distributed.sharding import own_rows, whole


class EMA:
    """Float32 averages ("shadows") of the parameters and floating buffers of one module.

    The decay warms up as min(decay, (1 + step) / (10 + step)), so that early averages forget the
    random initial weights. Make it after the module has moved to its device: shadows live there,
    and are split over processes as the weights are. Buffers that are not saved
    with the module are left out, and so is all of a module that says `averages_itself`: it is used
    as it is.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._module = module
        self._shadow = {
            name: value.to(torch.float32, copy=True) for name, value in _averaged(module).items()
        }

    def decay_at(self, step: int) -> float:
        """Return the weight of the past at update number `step` (0-based)."""
        return min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the averages towards the module's present weights, after update number `step`."""
        weight = 1 - self.decay_at(step)
        shadows = [own_rows(shadow) for shadow in self._shadow.values()]
        present = [own_rows(one).to(torch.float32) for one in _averaged(self._module).values()]
        torch._foreach_lerp_(shadows, present, weight)

    def tensors(self) -> dict[str, Tensor]:
        """Return the averages by name, float32; they are live, not copies."""
        return dict(self._shadow)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Overwrite the weights of `module`, of the same structure, with the averages.

        Where these are split over processes, all must call it, with a module that is not.
        """
        for name, value in _averaged(module).items():
            value.copy_(whole(self._shadow[name]))

    @contextlib.contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Have `module` use the averages inside the block and its own weights, exactly, after."""
        own = {name: value.clone() for name, value in _averaged(module).items()}
        self.copy_to(module)
        try:
            yield
        finally:
            module.load_state_dict(own, strict=False)


def _averaged(module: nn.Module) -> dict[str, Tensor]:
    """Return the live floating tensors that `module` saves and that are to be averaged, by name."""
    state = module.state_dict()  # its tensors share memory with the parameters and buffers
    parts = module.named_modules()
    left_out = tuple(f"{name}." for name, part in parts if getattr(part, "averages_itself", False))
    return {
        name: value
        for name, value in state.items()
        if value.is_floating_point() and not name.startswith(left_out)
    }
