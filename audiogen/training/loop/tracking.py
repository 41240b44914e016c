"""What a training run tells the world: metrics.jsonl, a progress bar, audio demos, wandb."""

from __future__ import annotations

import json
import logging
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from torch import Tensor

from audiogen.audio.io.files import write_audio
from audiogen.pages.pictures import sheet_png, spectrogram
from audiogen.run_folder import RunFolder
from audiogen.storage import atomic_write_bytes, atomic_write_text, parse_json

WandbMode = Literal["off", "offline", "online"]

PLAIN_LINE_SECONDS = 30.0
DEMO_COLUMNS, DEMO_INCHES = 640, (6.4, 2.6)
"""Of the picture of a demo."""
_REDRAW_SECONDS = 0.25
_WANDB_SECONDS = 30.0  # longest wait for any answer of wandb
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_log = logging.getLogger(__name__)


class Tracker:
    """Records one training stage; a context manager. Only the main process writes anything.

    Lines of this stage after `start_step` that an earlier, killed run left in metrics.jsonl are
    cut off when the block is entered, so that a resumed run has every step once.
    """

    def __init__(
        self,
        run_dir: Path,
        stage: str,
        *,
        total_steps: int,
        start_step: int = 0,
        is_main: bool = True,
        wandb_mode: WandbMode = "off",
        project: str = "audiogen",
    ) -> None:
        """Prepare tracking of `stage` in `run_dir`.

        Args:
            run_dir: the run's folder.
            stage: "codec", "generator" or "distil".
            total_steps: updates of the whole stage.
            start_step: step of the checkpoint that training resumes from; 0 for a fresh start.
            is_main: whether this process is the one that writes.
            wandb_mode: "off"; "offline" keeps a run in run_dir/wandb that can be synced later.
            project: name of the wandb project.
        """
        self._run_dir, self.stage, self._start_step = run_dir, stage, start_step
        self._is_main = is_main
        self._progress = _ProgressDisplay(stage, start_step, total_steps) if is_main else None
        self._wandb = _Wandb(run_dir, stage, wandb_mode if is_main else "off", project)
        self._file: TextIO | None = None
        self._seconds_before = 0.0
        self._logged_at_start: set[frozenset[str]] = set()

    def __enter__(self) -> Self:
        self._entered_at = time.monotonic()
        if self._is_main:
            path = RunFolder(self._run_dir).metrics
            kept = cut_metrics(path, self.stage, self._start_step)
            self._seconds_before = max((float(line["seconds"]) for line in kept), default=0.0)
            self._logged_at_start = {
                frozenset(line) for line in kept if line["step"] == self._start_step
            }
            self._file = path.open("a", encoding="utf-8")
            self._wandb.start()
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()
        if self._file:
            self._file.close()
        self._wandb.finish(failed=error is not None)

    def log(self, step: int, metrics: Mapping[str, float | Tensor]) -> None:
        """Append one line of metrics of `step`; NaN and infinity become null, as JSON has neither.

        A line that the file already has for the step resumed from is not written again.
        """
        if not self._is_main:
            return
        if self._file is None:
            raise RuntimeError("Tracker.log: use the tracker in a `with` block")
        reserved = {"stage", "step", "seconds"} & metrics.keys()
        if reserved:
            raise ValueError(f"Tracker.log: metrics may not be called {sorted(reserved)}")
        values = {name: float(value) for name, value in metrics.items()}
        seconds = self._seconds_before + time.monotonic() - self._entered_at
        line = {"stage": self.stage, "step": step, "seconds": round(seconds, 3)}
        line |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        if step > self._start_step or frozenset(line) not in self._logged_at_start:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            self._wandb.log(step, {f"{self.stage}/{name}": v for name, v in values.items()})
        if self._progress:
            self._progress.show(step, values)

    def note(self, step: int, event: str, facts: Mapping[str, Any]) -> None:
        """Warn of what happened at `step`, and append a line of it with `facts` as JSON values."""
        if self._file is not None:
            _log.warning("step %d %s: %s", step, event, json.dumps(facts, ensure_ascii=False))
            seconds = self._seconds_before + time.monotonic() - self._entered_at
            line = {"stage": self.stage, "step": step, "seconds": round(seconds, 3)}
            self._file.write(json.dumps({**line, "event": event, **facts}) + "\n")
            self._file.flush()

    def rewind(self, step: int) -> None:
        """Cut the metrics after `step`, from where training goes on; what happened stays."""
        if self._file is not None:
            self._file.close()
            path = RunFolder(self._run_dir).metrics
            cut_metrics(path, self.stage, step, keep_events=True)
            self._file = path.open("a", encoding="utf-8")

    def advance(self, step: int) -> None:
        """Move the progress bar on without recording anything; cheap enough for every step."""
        if self._progress:
            self._progress.show(step, {})

    def checkpoint_saved(self, step: int) -> None:
        """Show `step` as the last checkpoint in the progress display."""
        if self._progress:
            self._progress.checkpoint = step

    def audio(self, step: int, name: str, wav: Tensor, sample_rate: int, prompt: str) -> None:
        """Write a demo to demos/<stage>/step-<step>/<name> as .wav, .json and spectrogram .png.

        Args:
            step: updates done.
            name: letters, digits, - and _; the same demo has the same name at every step.
            wav: (C, T), finite. Above 1 it is scaled down, which the sidecar tells as gain_db.
            sample_rate: Hz.
            prompt: what it was made from; may be empty.
        """
        if not _NAME.fullmatch(name) or wav.ndim != 2 or wav.shape[1] == 0:
            raise ValueError(
                f"Tracker.audio: {name!r} of shape {tuple(wav.shape)}, expected (C, T)"
            )
        if not self._is_main:
            return
        folder = RunFolder(self._run_dir).demos(self.stage) / f"step-{step:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        plain = wav.detach().float().cpu()
        peak = max(1.0, float(plain.abs().max()))
        sidecar = {"prompt": prompt, "stage": self.stage, "step": step}
        sidecar |= {"sample_rate": sample_rate, "seconds": wav.shape[1] / sample_rate}
        sidecar |= {"gain_db": round(-20 * math.log10(peak), 2)}
        path = folder / f"{name}.wav"
        write_audio(path, plain / peak, sample_rate, sidecar=sidecar)
        title = f"{prompt or name} · step {step}"
        picture = path.with_suffix(".png")
        image = spectrogram(plain, sample_rate, width=DEMO_COLUMNS)
        below = f"{wav.shape[1] / sample_rate:.2f} s"
        atomic_write_bytes(picture, sheet_png([image], [(title, below)], cell=DEMO_INCHES))
        self._wandb.audio(step, f"{self.stage}/{name}", path, picture, title)


def cut_metrics(
    path: Path, stage: str, last_step: int, *, keep_events: bool = False
) -> list[dict[str, Any]]:
    """Cut lines of `stage` after `last_step`, and torn lines, off metrics.jsonl; atomically.

    With `keep_events`, the lines that `Tracker.note` wrote stay whatever their step.

    Returns:
        The lines of `stage` that stay.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    kept_text, kept = [], []
    for line in text.splitlines(keepends=True):
        try:
            row = parse_json(line, str(path))
            is_ours = row["stage"] == stage
            late = is_ours and row["step"] > last_step
            keep = line.endswith("\n") and (not late or (keep_events and "event" in row))
            float(row["seconds"])
        except (ValueError, KeyError, TypeError):
            _log.warning("%s: removed a line that a killed run left unfinished", path)
            continue
        if keep:
            kept_text.append(line)
            if is_ours:
                kept.append(row)
    if "".join(kept_text) != text:
        atomic_write_text(path, "".join(kept_text))
    return kept


class _ProgressDisplay:
    """A bar on a terminal; elsewhere one plain line every 30 s. Goes to stderr."""

    def __init__(self, stage: str, start_step: int, total_steps: int) -> None:
        self.checkpoint: int | None = start_step or None
        self._stage, self._step, self._total_steps = stage, start_step, total_steps
        self._console = Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._values: dict[str, float] = {}
        self._pace: deque[tuple[float, int]] = deque(maxlen=64)
        self._shown_at = -math.inf

    def start(self) -> None:
        self._pace.append((time.monotonic(), self._step))
        if self._console.is_terminal:
            columns = (
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[facts]}"),
            )
            self._bar = Progress(*columns, console=self._console, auto_refresh=False)
            self._task = self._bar.add_task(
                self._stage, total=self._total_steps, completed=self._step, facts=""
            )
            self._bar.start()

    def stop(self) -> None:
        self._draw()
        if self._bar:
            self._bar.stop()

    def show(self, step: int, values: Mapping[str, float]) -> None:
        now = time.monotonic()
        self._step = step
        self._values.update(values)
        if now >= self._pace[-1][0] + 1:
            self._pace.append((now, step))
        if now - self._shown_at >= (_REDRAW_SECONDS if self._bar else PLAIN_LINE_SECONDS):
            self._draw()

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
            facts.append(f"ETA {_duration(remaining)}")
        if self.checkpoint is not None:
            facts.append(f"checkpoint {self.checkpoint}")
        return facts


class _Wandb:
    """Weights & Biases, which may fail in any way without harm: it is then off, said once."""

    def __init__(self, run_dir: Path, stage: str, mode: WandbMode, project: str) -> None:
        self._run_dir, self._stage, self._mode, self._project = run_dir, stage, mode, project
        self._run: Any = None

    def start(self) -> None:
        if self._mode != "off":
            self._try("start", self._start)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._run is not None:
            run, content = self._run, dict(values)
            self._try("log", lambda: run.log(content, step=step))

    def audio(self, step: int, name: str, wav: Path, picture: Path, caption: str) -> None:
        def send() -> None:
            import wandb  # noqa: PLC0415 (slow to import, optional)

            sound = wandb.Audio(str(wav), caption=caption)
            run.log({name: sound, f"{name}_spectrogram": wandb.Image(str(picture))}, step=step)

        run = self._run
        if run is not None:
            self._try("audio", send)

    def finish(self, *, failed: bool) -> None:
        if self._run is not None:
            run = self._run
            self._try("finish", lambda: run.finish(exit_code=int(failed)))
            self._run = None

    def _start(self) -> None:
        import wandb  # noqa: PLC0415 (slow to import, optional)

        settings = wandb.Settings(
            init_timeout=_WANDB_SECONDS, silent=True, console="off", disable_git=True
        )
        run = wandb.init(
            project=self._project,
            name=f"{self._run_dir.name}-{self._stage}",
            group=self._run_dir.name,
            dir=str(self._run_dir),
            mode="online" if self._mode == "online" else "offline",
            settings=settings,
        )
        if self._mode != "off":  # it is off when this comes too late
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
        thread.join(_WANDB_SECONDS)
        if thread.is_alive():
            problem.append(f"no answer in {_WANDB_SECONDS:.0f} s")
        if problem:
            self._run, self._mode = None, "off"
            _log.warning("wandb is off for the rest of this run: %s failed (%s)", what, problem[0])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
