"""metrics.jsonl: one JSON line per step that was logged, and per event."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiogen.storage import atomic_write_text, parse_json

_log = logging.getLogger(__name__)


class MetricsFile:
    """The lines of one stage, which go on after those that an earlier run wrote.

    Lines after `start_step`, which a killed run left, are cut off, so that a resumed run has every
    step once.
    """

    def __init__(self, path: Path, stage: str, start_step: int) -> None:
        self._path, self._stage = path, stage
        kept = cut_metrics(path, stage, start_step)
        before = max((float(line["seconds"]) for line in kept), default=0.0)
        self._began = time.monotonic() - before
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, facts: Mapping[str, Any]) -> None:
        """Append a line of `step`; NaN and infinity become null, as JSON has neither."""
        seconds = round(time.monotonic() - self._began, 3)
        line: dict[str, Any] = {"stage": self._stage, "step": step, "seconds": seconds}
        for name, value in facts.items():
            is_odd = isinstance(value, float) and not math.isfinite(value)
            line[name] = None if is_odd else value
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def rewind(self, step: int) -> None:
        """Cut off the lines after `step`, from where training goes on, but for events."""
        self._file.close()
        cut_metrics(self._path, self._stage, step, keep_events=True)
        self._file = self._path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def cut_metrics(
    path: Path, stage: str, last_step: int, *, keep_events: bool = False
) -> list[dict[str, Any]]:
    """Cut lines of `stage` after `last_step`, and torn lines, off metrics.jsonl; atomically.

    With `keep_events`, lines of events stay whatever their step.

    Returns:
        The lines of `stage` that stay.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    kept_text, kept = "", []
    for line in text.splitlines(keepends=True):
        try:
            row = parse_json(line, str(path))
            is_ours = row["stage"] == stage
            late = is_ours and row["step"] > last_step
            float(row["seconds"])
        except (ValueError, KeyError, TypeError):
            _log.warning("%s: removed a line that a killed run left unfinished", path)
            continue
        if line.endswith("\n") and (not late or (keep_events and "event" in row)):
            kept_text += line
            kept += [row] if is_ours else []
    if kept_text != text:
        atomic_write_text(path, kept_text)
    return kept
