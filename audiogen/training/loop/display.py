"""How far a stage has come, on stderr: a bar on a terminal, elsewhere a line every 30 s."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress

PLAIN_LINE_SECONDS = 30.0
PACE_SECONDS = 120.0
"""The time that is left is estimated from the last steps, over so long."""


class ProgressDisplay:
    """The display of one stage, from `start_step` on; a step may be called by another `unit`.

    Attributes:
        checkpoint: step of the last checkpoint; None before there is one.
    """

    def __init__(
        self, stage: str, start_step: int, total_steps: int, *, unit: str = "step"
    ) -> None:
        self._unit = unit
        self.checkpoint: int | None = start_step or None
        self._values: dict[str, float] = {}
        self._line_at = -math.inf
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            "[bold]{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            "{task.fields[facts]}",
            console=self._console,
            disable=not self._console.is_terminal,
            speed_estimate_period=PACE_SECONDS,
            get_time=time.monotonic,
        )
        self._id = self._bar.add_task(stage, total=total_steps, completed=start_step, facts="")
        self._bar.start()

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Take note of a step and its metrics, and print them when it is time."""
        self._values.update(values)
        self._bar.update(self._id, completed=step)
        self._draw(with_line=time.monotonic() >= self._line_at + PLAIN_LINE_SECONDS)

    def stop(self) -> None:
        """Draw the last state, and leave it there."""
        self._draw(with_line=True)
        self._bar.stop()

    def _draw(self, *, with_line: bool) -> None:
        """Bring the bar up to date or, where there is none, print a line."""
        facts = "  ".join(self._facts())
        self._bar.update(self._id, facts=facts)
        if with_line and self._bar.disable:
            self._line_at = time.monotonic()
            task = self._bar.tasks[self._id]
            line = f"{task.description}  {self._unit} {task.completed}/{task.total}  {facts}"
            self._console.print(line.rstrip(), markup=False, soft_wrap=True)

    def _facts(self) -> list[str]:
        facts = []
        if "loss" in self._values:
            facts.append(f"loss {self._values['loss']:.4g}")
        if "audio_seconds_per_second" in self._values:
            facts.append(f"{self._values['audio_seconds_per_second']:.3g} s audio/s")
        if remaining := self._bar.tasks[self._id].time_remaining:
            facts.append(f"ETA {timedelta(seconds=remaining)}")
        if self.checkpoint is not None:
            facts.append(f"checkpoint {self.checkpoint}")
        return facts
