"""The guard against divergence: steps that would harm the weights are left out."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

BAD_STEPS = 3
"""Steps left out in a row before training goes back to the last good checkpoint."""
WINDOW = 50
"""Losses whose median a spike is measured against; before there are so many, there is none."""


class Guard:
    """Says before each update why it must be left out, the same in every process.

    An update is left out when its loss or gradient is not finite, or when its loss is more than
    `spike_factor` times the median of the last ones.

    Attributes:
        rollbacks: how often training went back to a checkpoint; each gives another data order.
        bad_steps: the last ones in a row that were left out.
    """

    def __init__(self, spike_factor: float) -> None:
        self._spike_factor = spike_factor
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._phase = 0
        self.bad_steps = 0
        self.rollbacks = 0

    def judge(self, loss: float, norm: float, *, phase: int = 0) -> str:
        """Judge one update.

        Args:
            loss: mean over the processes.
            norm: of the gradient, likewise.
            phase: changes when the loss gets other terms; losses of one phase are compared.

        Returns:
            Why the optimizer must not step; empty when it may.
        """
        if phase != self._phase:
            self._losses.clear()
            self._phase = phase
        fault = self._fault(loss, norm)
        self.bad_steps = self.bad_steps + 1 if fault else 0
        if not fault:
            self._losses.append(loss)
        return fault

    def start_over(self, *, rollbacks: int) -> None:
        """Count again, after training went back to a checkpoint for the given time."""
        self.rollbacks, self.bad_steps = rollbacks, 0

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint has to hold, as JSON."""
        return {
            "rollbacks": self.rollbacks,
            "bad_steps": self.bad_steps,
            "phase": self._phase,
            "losses": list(self._losses),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was called."""
        self.rollbacks, self.bad_steps = state["rollbacks"], state["bad_steps"]
        self._phase = state["phase"]
        self._losses = deque(state["losses"], maxlen=WINDOW)

    def _fault(self, loss: float, norm: float) -> str:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            return f"the gradient's norm is {norm}"
        if len(self._losses) == WINDOW:
            median = statistics.median(self._losses)
            if 0 < self._spike_factor * median < loss:
                return f"the loss {loss:.4g} is far above the usual {median:.4g}"
        return ""


class Undo:
    """Copies of tensors that a step changes before it is known to be sound."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._live = [*tensors]
        self._copies = [tensor.detach().clone() for tensor in self._live]

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back as it was."""
        for tensor, copy in zip(self._live, self._copies, strict=True):
            tensor.copy_(copy)
