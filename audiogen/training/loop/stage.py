"""What a training loop is given, what it trains, and what each of its steps tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from accelerate import Accelerator
from torch import nn
from torch.optim import Optimizer

from audiogen.data.loading.clips import Position
from audiogen.experiment import Stage
from audiogen.run_folder import RunFolder
from audiogen.train_config import LoopConfig
from audiogen.training.loop.divergence import Guard
from audiogen.training.loop.ema import EMA
from audiogen.training.loop.tracking import Tracker

Demo = Callable[[int, Tracker], None]
"""Writes audio demos of the given step to the tracker."""


class Items(Protocol):
    """A data set whose items are indexed by position and know where they come from."""

    def __len__(self) -> int: ...
    def __getitem__(self, position: Position, /) -> Any: ...
    def name_of(self, position: Position) -> str:
        """File or other source of an item."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What a stage learns from.

    Attributes:
        items: the data set.
        collate: joins items into the batch that the update takes.
        seconds: of audio in one item, for the throughput.
        num_workers: processes that load; 0 loads in the training process.
    """

    items: Items
    collate: Callable[[list[Any]], Any]
    seconds: float
    num_workers: int = 0


@dataclass(frozen=True, kw_only=True)
class StageRun:
    """One stage of a run, apart from its model and its data.

    Attributes:
        stage: which one.
        folder: of the run; checkpoints, metrics and demos are written there.
        config: what is the same in all stages.
        seed: of the order of the data, and of what each step draws.
        settings: what a checkpoint must have been made with to be continued, as JSON.
        accelerator: places the model and, under `accelerate launch`, joins the processes.
        demo: called while the averaged weights are in place.
    """

    stage: Stage
    folder: RunFolder
    config: LoopConfig
    seed: int
    settings: Mapping[str, Any]
    accelerator: Accelerator
    demo: Demo

    def places(self, batch_size: int) -> range:
        """Places of this process's items in the batch of all processes, as `StepSampler` deals."""
        share = batch_size // self.accelerator.num_processes
        first = self.accelerator.process_index * share
        return range(first, first + share)

    def tracker(self, total_steps: int, *, start_step: int) -> Tracker:
        """Return what records the steps after `start_step`."""
        return Tracker(
            self.folder.path,
            self.stage,
            total_steps=total_steps,
            start_step=start_step,
            is_main=self.accelerator.is_main_process,
            wandb_mode=self.config.wandb,
        )


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one optimizer update did, in this process.

    Attributes:
        losses: by name, means over micro-batches; "loss" is what was minimised.
        grad_norm: of the whole gradient, before it was clipped.
        lr: learning rate.
        left_out: why the weights stayed as they were; empty when they moved.
        stops: whether a signal has asked any process to stop.
    """

    losses: Mapping[str, float]
    grad_norm: float
    lr: float
    left_out: str
    stops: bool

    @property
    def metrics(self) -> dict[str, float]:
        """Every number, by the names of metrics.jsonl."""
        return {**self.losses, "grad_norm": self.grad_norm, "lr": self.lr}


@dataclass(frozen=True, kw_only=True)
class Learner:
    """Networks with all that one update of them needs.

    Attributes:
        update: does update number `step` (0-based) on a batch, and tells what happened.
        modules: the networks by name, unwrapped: what a checkpoint holds.
        optimizers: one for each of them, by the same name.
        ema: average of the network that is made.
        product: what shows demos and has the averages in the end: that network itself, or, where
            it is split over processes, a whole one.
        guard: which `update` asks before it changes the weights.
    """

    update: Callable[[int, Any], StepResult]
    modules: Mapping[str, nn.Module]
    optimizers: Mapping[str, Optimizer]
    ema: EMA
    product: nn.Module
    guard: Guard
