"""How far a stage has come, on stderr: a bar on a terminal, elsewhere a line every 30 s."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

PLAIN_LINE_SECONDS = 30.0
REDRAW_SECONDS = 0.25


class ProgressDisplay:
    """The display of one stage, from `start_step` on.

    Attributes:
        checkpoint: step of the last checkpoint; None before there is one.
    """

    def __init__(self, stage: str, start_step: int, total_steps: int) -> None:
        self.checkpoint: int | None = start_step or None
        self._stage, self._step, self._total_steps = stage, start_step, total_steps
        self._values: dict[str, float] = {}
        self._pace = deque([(time.monotonic(), start_step)], maxlen=64)
        self._shown_at = -math.inf
        self._console = Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        if self._console.is_terminal:
            columns = (
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[facts]}"),
            )
            self._bar = Progress(*columns, console=self._console, auto_refresh=False)
            self._task = self._bar.add_task(
                stage, total=total_steps, completed=start_step, facts=""
            )
            self._bar.start()

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Take note of a step and its metrics, and draw them when it is time."""
        now = time.monotonic()
        self._step = step
        self._values.update(values)
        if now >= self._pace[-1][0] + 1:
            self._pace.append((now, step))
        if now - self._shown_at >= (REDRAW_SECONDS if self._bar else PLAIN_LINE_SECONDS):
            self._draw()

    def stop(self) -> None:
        """Draw the last state, and leave it there."""
        self._draw()
        if self._bar:
            self._bar.stop()

    def _draw(self) -> None:
        self._shown_at = time.monotonic()
        facts = "  ".join(self._facts())
        if self._bar:
            self._bar.update(self._task, completed=self._step, facts=facts, refresh=True)
        else:
            line = f"{self._stage}  step {self._step}/{self._total_steps}  {facts}"
            self._console.print(line.rstrip(), markup=False, soft_wrap=True)

    def _facts(self) -> list[str]:
        facts = []
        if "loss" in self._values:
            facts.append(f"loss {self._values['loss']:.4g}")
        if "audio_seconds_per_second" in self._values:
            facts.append(f"{self._values['audio_seconds_per_second']:.3g} s audio/s")
        (then, first), now = self._pace[0], time.monotonic()
        if self._total_steps > self._step > first:
            remaining = (now - then) / (self._step - first) * (self._total_steps - self._step)
            facts.append(f"ETA {timedelta(seconds=round(remaining))}")
        if self.checkpoint is not None:
            facts.append(f"checkpoint {self.checkpoint}")
        return facts
