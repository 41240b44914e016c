"""What the two loops share: steps with logging, averaging, checkpoints and demos."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn
from torch.utils.data import Dataset

from audiogen.data.loader import StepSampler, make_loader
from audiogen.experiment import ExperimentConfig
from audiogen.nn.processes import is_joined
from audiogen.training.ema import EMA
from audiogen.training.resume import Resumable
from audiogen.training.signals import Stopped, between_steps, stop_is_asked
from audiogen.training.tracking import Tracker
from audiogen.training.watchdog import mark

_log = logging.getLogger(__name__)

MAX_BAD_STEPS = 3
"""Steps in a row whose gradient is not finite before training stops."""

Demo = Callable[[int, Tracker], None]
"""Writes audio demos of the given step to the tracker."""
Update = Callable[[int, Any], Mapping[str, float]]
"""Does update number `step` (0-based) on a batch; returns metrics, among them `grad_norm`."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of training, as its loop describes it to `run_steps`.

    Attributes:
        name: "codec" or "generator".
        config: of the experiment.
        total_steps: optimizer updates.
        batch_size: over all processes.
        clip_seconds: of audio in one item, for the throughput.
        module: what is averaged and exported, unwrapped.
        ema: its average.
        state: what a checkpoint holds.
        update: one optimizer update.
        demo: audio demos.
        accelerator: the processes.
    """

    name: str
    config: ExperimentConfig
    total_steps: int
    batch_size: int
    clip_seconds: float
    module: nn.Module
    ema: EMA
    state: Resumable
    update: Update
    demo: Demo
    accelerator: Accelerator


def run_steps(stage: Stage, dataset: Dataset[Any], collate: Callable[[Sequence[Any]], Any]) -> None:
    """Train from the newest checkpoint to the end; leave the averaged weights in the module."""
    config, accelerator = stage.config, stage.accelerator
    start = stage.state.restore()
    sampler = StepSampler(
        len(dataset),  # type: ignore[arg-type]
        batch_size=stage.batch_size,
        start_step=start,
        total_steps=stage.total_steps,
        seed=config.seed,
        rank=accelerator.process_index,
        num_processes=accelerator.num_processes,
    )
    loader = make_loader(dataset, sampler, collate, num_workers=config.data.num_workers)
    tracker = Tracker(
        config.run_dir, stage.name, total_steps=stage.total_steps, start_step=start,
        is_main=accelerator.is_main_process, wandb_mode=config.train.wandb,
    )  # fmt: skip
    meter = Meter(stage.batch_size * stage.clip_seconds)
    with tracker, between_steps():
        if start == 0:
            _show(stage, 0, tracker)
        for step, batch in enumerate(loader, start=start + 1):
            meter.add(stage.update(step - 1, batch))
            stage.ema.update(step - 1)
            _record(stage, step, meter, tracker)
    # The main process goes on to publish the model, the others wait for it.
    mark(f"{stage.name}: all steps done", limited=not accelerator.is_main_process)
    stage.ema.copy_to(stage.module)
    stage.module.eval()


def places_of(accelerator: Accelerator, batch_size: int) -> range:
    """Places of this process's items in the batch over all processes, as `StepSampler` deals."""
    share = batch_size // accelerator.num_processes
    first = accelerator.process_index * share
    return range(first, first + share)


def _record(stage: Stage, step: int, meter: Meter, tracker: Tracker) -> None:
    """Log, save and show what is due after `step` updates."""
    train, last = stage.config.train, step == stage.total_steps
    mark(f"{stage.name} step {step}", limited=True)
    stops = stop_is_asked(stage.accelerator.device)
    if step % train.log_every == 0 or last:
        tracker.log(step, _mean(meter.take()))
    else:
        tracker.advance(step)
    if step % train.checkpoint_every == 0 or last or stops:
        mark(f"{stage.name} checkpoint of step {step}", limited=False)
        stage.state.save(step, stage.accelerator)
        tracker.checkpoint_saved(step)
    if stops:
        if stage.accelerator.is_main_process:
            _log.info("stopped by a signal after step %d; the same command goes on", step)
        raise Stopped
    if step % train.demo_every == 0 or last:
        mark(f"{stage.name} demo of step {step}", limited=False)
        _show(stage, step, tracker)
    mark(f"{stage.name} step {step}", limited=True)


def _mean(metrics: Mapping[str, float]) -> dict[str, float]:
    """Means over the processes of the metrics that each of them has."""
    if not is_joined():
        return dict(metrics)
    told = gather_object([metrics])
    return {
        name: sum(one[name] for one in told) / len(told)
        for name in metrics
        if all(name in one for one in told)
    }


def _show(stage: Stage, step: int, tracker: Tracker) -> None:
    """Run the demo with the averaged weights, and put everything back as it was."""
    if not stage.accelerator.is_main_process:
        return
    stage.module.eval()
    with stage.ema.applied(stage.module):
        stage.demo(step, tracker)
    stage.module.train()


class Meter:
    """Means of metrics between two log lines, and throughput."""

    def __init__(self, audio_seconds_per_step: float) -> None:
        self._audio_seconds = audio_seconds_per_step
        self._bad_steps = 0
        self._reset()

    def add(self, metrics: Mapping[str, float]) -> None:
        """Count one step.

        Raises:
            ValueError: the gradient was not finite in several steps in a row.
        """
        self._steps += 1
        self._bad_steps = 0 if math.isfinite(metrics["grad_norm"]) else self._bad_steps + 1
        if self._bad_steps == MAX_BAD_STEPS:
            raise ValueError(
                f"training diverged: {MAX_BAD_STEPS} steps in a row had gradients that are not"
                " finite\n  try a lower learning rate or a smaller max_grad_norm; the same command"
                " goes on from the last checkpoint"
            )
        for name, value in metrics.items():
            self._values.setdefault(name, []).append(value)

    def take(self) -> dict[str, float]:
        """Return the means since the last call, and start anew."""
        means = {name: sum(values) / len(values) for name, values in self._values.items()}
        elapsed = time.monotonic() - self._since
        means["audio_seconds_per_second"] = self._steps * self._audio_seconds / max(elapsed, 1e-9)
        self._reset()
        return means

    def _reset(self) -> None:
        self._steps, self._since = 0, time.monotonic()
        self._values: dict[str, list[float]] = {}
