"""Weights & Biases, which may fail in any way without harm: it is then off, said once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

WandbMode = Literal["off", "offline", "online"]

ANSWER_SECONDS = 30.0  # longest wait for any answer
_log = logging.getLogger(__name__)


class WandbRun:
    """The run of one stage at wandb."""

    def __init__(self, run_dir: Path, stage: str, mode: WandbMode) -> None:
        """Start the run unless `mode` is "off"; "offline" keeps it in run_dir/wandb."""
        self._run: Any = None
        self._is_on = mode != "off"
        if self._is_on:
            self._try("start", lambda: self._start(run_dir, stage, mode))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send numbers of a step."""
        run, content = self._run, dict(values)
        if run is not None:
            self._try("log", lambda: run.log(content, step=step))

    def audio(self, step: int, name: str, wav: Path, picture: Path, caption: str) -> None:
        """Send a sound and its picture."""

        def send() -> None:
            import wandb  # noqa: PLC0415 (slow to import, optional)

            sound = wandb.Audio(str(wav), caption=caption)
            run.log({name: sound, f"{name}_spectrogram": wandb.Image(str(picture))}, step=step)

        run = self._run
        if run is not None:
            self._try("audio", send)

    def finish(self, *, failed: bool) -> None:
        """End the run."""
        run = self._run
        if run is not None:
            self._try("finish", lambda: run.finish(exit_code=int(failed)))

    def _start(self, run_dir: Path, stage: str, mode: WandbMode) -> None:
        import wandb  # noqa: PLC0415 (slow to import, optional)

        run = wandb.init(
            project="audiogen",
            name=f"{run_dir.name}-{stage}",
            group=run_dir.name,
            dir=str(run_dir),
            mode="online" if mode == "online" else "offline",
            settings=wandb.Settings(
                init_timeout=ANSWER_SECONDS, silent=True, console="off", disable_git=True
            ),
        )
        if self._is_on:  # it is off when this comes too late
            self._run = run

    def _try(self, what: str, call: Callable[[], None]) -> None:
        """Run `call` and wait for some time; whatever goes wrong turns wandb off.

        It runs in a thread that may be left behind: a call that hangs must not hold training up.
        """
        problem: list[str] = []

        def guarded() -> None:
            try:
                call()
            except Exception as error:  # not ours to know what wandb and its network raise
                problem.append(f"{type(error).__name__}: {error}")

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        thread.join(ANSWER_SECONDS)
        if thread.is_alive():
            problem.append(f"no answer in {ANSWER_SECONDS:.0f} s")
        if problem:
            self._run, self._is_on = None, False
            _log.warning("wandb is off for the rest of this run: %s failed (%s)", what, problem[0])
