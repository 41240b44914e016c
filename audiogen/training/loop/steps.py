"""What the two loops share: steps with logging, averaging, checkpoints and demos."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn
from torch.utils.data import DataLoader

from audiogen.data.loading.clips import Position
from audiogen.data.loading.loader import StepSampler, make_loader
from audiogen.experiment import ExperimentConfig
from audiogen.nn.processes import is_joined
from audiogen.training.checkpoint.resume import Resumable
from audiogen.training.distributed.signals import Stopped, between_steps, stop_is_asked
from audiogen.training.distributed.waiting import wait_for_all
from audiogen.training.loop.divergence import DivergedError, Guard
from audiogen.training.loop.ema import EMA
from audiogen.training.loop.tracking import Tracker

ROLLBACK_SEED = 7_919
"""What a return to a checkpoint adds to the seed of the data's order."""

_log = logging.getLogger(__name__)

Demo = Callable[[int, Tracker], None]
"""Writes audio demos of the given step to the tracker."""
Update = Callable[[int, Any], Mapping[str, float]]
"""Does update number `step` (0-based) on a batch if the guard allows it; returns metrics."""


class Items(Protocol):
    """A data set whose items are indexed by position and know where they come from."""

    def __len__(self) -> int: ...
    def __getitem__(self, position: Position, /) -> Any: ...
    def name_of(self, position: Position) -> str:
        """File or other source of an item."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of training, as its loop describes it to `run_steps`.

    Attributes:
        name: "codec" or "generator".
        config: of the experiment.
        total_steps: optimizer updates.
        batch_size: over all processes.
        clip_seconds: of audio in one item, for the throughput.
        module: what is trained and averaged, unwrapped.
        product: what shows demos and gets the averages in the end: the module itself, or where that
            is split over processes, a whole one.
        ema: its average.
        state: what a checkpoint holds.
        guard: that `update` asks before it changes the weights.
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
    product: nn.Module
    ema: EMA
    state: Resumable
    guard: Guard
    update: Update
    demo: Demo
    accelerator: Accelerator


def run_steps(stage: Stage, items: Items, collate: Callable[[Sequence[Any]], Any]) -> None:
    """Train from the newest checkpoint to the end; leave the averaged weights in the module."""
    config, accelerator = stage.config, stage.accelerator
    start = stage.state.restore(stage.guard)
    tracker = Tracker(
        config.run_dir,
        stage.name,
        total_steps=stage.total_steps,
        start_step=start,
        is_main=accelerator.is_main_process,
        wandb_mode=config.train.wandb,
    )
    with tracker, between_steps():
        if start == 0:
            _show(stage, 0, tracker)
        while True:
            try:
                _train(stage, start, items, collate, tracker)
                break
            except DivergedError as error:
                start = _roll_back(stage, str(error), tracker)
    stage.ema.copy_to(stage.product)
    stage.product.eval()


def _train(
    stage: Stage,
    start: int,
    items: Items,
    collate: Callable[[Sequence[Any]], Any],
    tracker: Tracker,
) -> None:
    """Do the steps after `start`; DivergedError when too many in a row had to be left out."""
    sampler = StepSampler(
        len(items),
        batch_size=stage.batch_size,
        start_step=start,
        total_steps=stage.total_steps,
        seed=stage.config.seed + ROLLBACK_SEED * stage.guard.rollbacks,
        rank=stage.accelerator.process_index,
        num_processes=stage.accelerator.num_processes,
    )
    workers = stage.config.data.num_workers
    loader: DataLoader[Any] = make_loader(items, sampler, collate, num_workers=workers)
    meter = Meter(stage.batch_size * stage.clip_seconds)
    for step, batch in enumerate(loader, start=start + 1):
        metrics = stage.update(step - 1, batch)
        if stage.guard.reason:
            names = sorted({items.name_of(one) for one in sampler.global_batch(step - 1)})
            _report_left_out(stage, step, names, tracker)
            stage.guard.require_progress()
        else:
            meter.add(metrics)
            stage.ema.update(step - 1)
        _record(stage, step, meter, tracker)


def _report_left_out(stage: Stage, step: int, names: Sequence[str], tracker: Tracker) -> None:
    """Say which step was left out, why, and what it was trained on."""
    reason = stage.guard.reason
    if stage.accelerator.is_main_process:
        _log.warning("step %d left out: %s; its files: %s", step, reason, ", ".join(names))
    tracker.note(step, "left out", {"reason": reason, "files": list(names)})


def _roll_back(stage: Stage, reason: str, tracker: Tracker) -> int:
    """Go back to the newest checkpoint with another data order; return its step.

    Raises:
        ValueError: there is no checkpoint, or training went back too often.
    """
    advice = "  try a lower learning rate or a smaller max_grad_norm; metrics.jsonl names the files"
    before = stage.guard.rollbacks
    if before >= stage.config.train.max_rollbacks:
        raise ValueError(f"training diverged: {reason}, after {before} roll-backs\n{advice}")
    step = stage.state.restore(stage.guard)
    if step == 0:
        raise ValueError(f"training diverged before its first checkpoint: {reason}\n{advice}")
    # A run killed here repeats the same steps and comes to the same roll-back.
    stage.guard.start_over(rollbacks=before + 1)
    if stage.accelerator.is_main_process:
        _log.warning("%s; back to step %d with another order of the data", reason, step)
    tracker.rewind(step)
    tracker.note(step, "rolled back", {"reason": reason, "rollbacks": before + 1})
    return step


def places_of(accelerator: Accelerator, batch_size: int) -> range:
    """Places of this process's items in the batch over all processes, as `StepSampler` deals."""
    share = batch_size // accelerator.num_processes
    first = accelerator.process_index * share
    return range(first, first + share)


def _record(stage: Stage, step: int, meter: Meter, tracker: Tracker) -> None:
    """Log, save and show what is due after `step` updates."""
    train, last = stage.config.train, step == stage.total_steps
    stops = stop_is_asked(stage.accelerator.device)
    if step % train.log_every == 0 or last:
        tracker.log(step, _mean(meter.take()))
    else:
        tracker.advance(step)
    # Between steps that were left out there is no good checkpoint to go back to.
    is_due = step % train.checkpoint_every == 0 and not stage.guard.reason
    if is_due or last or stops:
        stage.state.save(step, stage.accelerator, stage.guard)
        tracker.checkpoint_saved(step)
    if stops:
        if stage.accelerator.is_main_process:
            _log.info("stopped by a signal after step %d; the same command goes on", step)
        raise Stopped
    if step % train.demo_every == 0 or last:
        _show(stage, step, tracker)


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
    is_main, is_split = stage.accelerator.is_main_process, stage.product is not stage.module
    if is_main or is_split:
        stage.product.eval()
        with stage.ema.applied(stage.product):  # all processes help to join a split average
            if is_main:
                stage.product.to(stage.accelerator.device)
                stage.demo(step, tracker)
        if is_split:
            stage.product.cpu()  # the GPU's memory is for what is trained
        stage.product.train()
    wait_for_all()


class Meter:
    """Means of metrics between two log lines, and throughput."""

    def __init__(self, audio_seconds_per_step: float) -> None:
        self._audio_seconds = audio_seconds_per_step
        self._reset()

    def add(self, metrics: Mapping[str, float]) -> None:
        """Count one step that was done."""
        self._steps += 1
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
