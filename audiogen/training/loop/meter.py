"""Means of what the steps between two log lines told."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping

from accelerate.utils import gather_object

from audiogen.nn.processes import is_joined


class Meter:
    """Means of metrics over steps and processes, and throughput."""

    def __init__(self, audio_seconds_per_step: float) -> None:
        self._audio_seconds = audio_seconds_per_step
        self._reset()

    def add(self, metrics: Mapping[str, float]) -> None:
        """Count one step that was done."""
        self._steps += 1
        for name, value in metrics.items():
            self._values.setdefault(name, []).append(value)

    def take(self) -> dict[str, float]:
        """Return the means since the last call, and start anew; every process must call it."""
        means = {name: statistics.fmean(values) for name, values in self._values.items()}
        elapsed = time.monotonic() - self._since
        means["audio_seconds_per_second"] = self._steps * self._audio_seconds / max(elapsed, 1e-9)
        self._reset()
        told = gather_object([means]) if is_joined() else [means]
        shared = [name for name in means if all(name in one for one in told)]
        return {name: statistics.fmean(one[name] for one in told) for name in shared}

    def _reset(self) -> None:
        self._steps, self._since = 0, time.monotonic()
        self._values: dict[str, list[float]] = {}
