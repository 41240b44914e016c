"""Weights & Biases, which may fail or hang in any way without harm: training never waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

WandbMode = Literal["off", "offline", "online"]

ANSWER_SECONDS = 30.0  # longest wait in the end for what is not sent yet
_log = logging.getLogger(__name__)


class WandbRun:
    """The run of one stage at wandb, told in a thread of its own; its first failure is its last."""

    def __init__(self, run_dir: Path, stage: str, mode: WandbMode) -> None:
        """Start the run unless `mode` is "off"; "offline" keeps it in run_dir/wandb."""
        self._calls: SimpleQueue[Callable[[Any], object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, args=(run_dir, stage, mode), daemon=True)
        if mode != "off":
            self._thread.start()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send numbers of a step."""
        self._ask(lambda run: run.log(dict(values), step=step))

    def audio(self, step: int, name: str, wav: Path, picture: Path, caption: str) -> None:
        """Send a sound and its picture."""

        def send(run: Any) -> None:
            import wandb  # noqa: PLC0415 (slow to import, optional)

            sound = wandb.Audio(str(wav), caption=caption)
            run.log({name: sound, f"{name}_spectrogram": wandb.Image(str(picture))}, step=step)

        self._ask(send)

    def finish(self, *, failed: bool) -> None:
        """End the run, once all is sent or nothing more is heard."""
        self._ask(lambda run: run.finish(exit_code=int(failed)))
        self._ask(None)
        if self._thread.is_alive():
            self._thread.join(ANSWER_SECONDS)
            if self._thread.is_alive():
                _log.warning("wandb: given up in the end, no answer in %.0f s", ANSWER_SECONDS)

    def _ask(self, call: Callable[[Any], object] | None) -> None:
        if self._thread.is_alive():
            self._calls.put(call)

    def _work(self, run_dir: Path, stage: str, mode: WandbMode) -> None:
        """Start the run and make the calls up to None."""
        try:
            import wandb  # noqa: PLC0415 (slow to import, optional)

            run = wandb.init(
                project="audiogen",
                name=f"{run_dir.name}-{stage}",
                group=run_dir.name,
                dir=str(run_dir),
                mode="online" if mode == "online" else "offline",
                settings=wandb.Settings(silent=True, console="off", disable_git=True),
            )
            for call in iter(self._calls.get, None):
                call(run)
        except Exception as error:  # not ours to know what wandb and its network raise
            problem = f"{type(error).__name__}: {error}"
            _log.warning("wandb is off for the rest of this stage (%s)", problem)
