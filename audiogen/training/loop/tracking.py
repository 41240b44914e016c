"""What a training run tells the world: metrics.jsonl, a progress bar, audio demos, wandb."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import Tensor

from audiogen.audio.io.files import write_audio
from audiogen.pages.pictures import sheet_png, spectrogram
from audiogen.run_folder import RunFolder
from audiogen.storage import atomic_write_bytes
from audiogen.training.loop.display import ProgressDisplay
from audiogen.training.loop.metrics_file import MetricsFile
from audiogen.training.loop.wandb_run import WandbMode, WandbRun

DEMO_COLUMNS, DEMO_INCHES = 640, (6.4, 2.6)
"""Of the picture of a demo."""
_log = logging.getLogger(__name__)


class Tracker:
    """Records one training stage in a `with` block. Only the main process writes anything."""

    def __init__(
        self,
        run_dir: Path,
        stage: str,
        *,
        total_steps: int,
        start_step: int = 0,
        is_main: bool = True,
        wandb_mode: WandbMode = "off",
    ) -> None:
        """Begin to record `stage` in `run_dir`, from the checkpoint of `start_step` on."""
        self._run, self.stage, self._is_main = RunFolder(run_dir), stage, is_main
        if is_main:
            self._file = MetricsFile(self._run.metrics, stage, start_step)
            self._wandb = WandbRun(run_dir, stage, wandb_mode)
            self._progress = ProgressDisplay(stage, start_step, total_steps)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._is_main:
            self._progress.stop()
            self._file.close()
            self._wandb.finish(failed=error is not None)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of `step`."""
        if self._is_main:
            self._file.write(step, metrics)
            self._wandb.log(step, {f"{self.stage}/{name}": v for name, v in metrics.items()})
            self._progress.show(step, metrics)

    def note(self, step: int, event: str, facts: Mapping[str, Any]) -> None:
        """Record and warn of what happened at `step`, with `facts` as JSON values."""
        if self._is_main:
            _log.warning("step %d %s: %s", step, event, json.dumps(facts, ensure_ascii=False))
            self._file.write(step, {"event": event, **facts})

    def rewind(self, step: int) -> None:
        """Take back the metrics after `step`, from where training goes on; what happened stays."""
        if self._is_main:
            self._file.rewind(step)

    def advance(self, step: int) -> None:
        """Move the progress bar on without recording anything; cheap enough for every step."""
        if self._is_main:
            self._progress.show(step, {})

    def checkpoint_saved(self, step: int) -> None:
        """Show `step` as the last checkpoint in the progress display."""
        if self._is_main:
            self._progress.checkpoint = step

    def audio(self, step: int, name: str, wav: Tensor, sample_rate: int, prompt: str) -> None:
        """Write a demo to demos/<stage>/step-<step>/<name> as .wav, .json and spectrogram .png.

        Args:
            step: updates done.
            name: of the file; the same demo has the same name at every step.
            wav: (C, T), finite. Above 1 it is scaled down, which the sidecar tells as gain_db.
            sample_rate: Hz.
            prompt: what it was made from; may be empty.
        """
        if not self._is_main:
            return
        folder = self._run.demos(self.stage) / f"step-{step:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        plain, seconds = wav.detach().float().cpu(), wav.shape[1] / sample_rate
        peak = max(1.0, float(plain.abs().max()))
        sidecar = {
            "prompt": prompt,
            "stage": self.stage,
            "step": step,
            "sample_rate": sample_rate,
            "seconds": seconds,
            "gain_db": round(-20 * math.log10(peak), 2),
        }
        path = folder / f"{name}.wav"
        write_audio(path, plain / peak, sample_rate, sidecar=sidecar)
        title, picture = f"{prompt or name} · step {step}", path.with_suffix(".png")
        image = spectrogram(plain, sample_rate, width=DEMO_COLUMNS)
        captions = [(title, f"{seconds:.2f} s")]
        atomic_write_bytes(picture, sheet_png([image], captions, cell=DEMO_INCHES))
        self._wandb.audio(step, f"{self.stage}/{name}", path, picture, title)
