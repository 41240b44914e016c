"""The training loop of every generator: one loss, from batches of latents."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import Optimizer

from audiogen.experiment import ExperimentConfig, GeneratorTrainConfig
from audiogen.generators import LatentGenerator
from audiogen.nn.chance import draws_of
from audiogen.training.checkpoint.resume import Resumable
from audiogen.training.distributed.sharding import (
    is_sharded,
    shard_over_processes,
    whole,
    without_exchange,
)
from audiogen.training.loop.blocks import prepare_blocks
from audiogen.training.loop.divergence import Guard
from audiogen.training.loop.ema import EMA
from audiogen.training.loop.optim import build_optimizer, lr_at, set_lr
from audiogen.training.loop.steps import Demo, Items, Stage, places_of, run_steps
from audiogen.types import Batch


def train_generator(
    generator: LatentGenerator,
    dataset: Items,
    collate: Callable[[Sequence[Any]], Batch],
    *,
    config: ExperimentConfig,
    stage: Literal["generator", "distil"],
    settings: Mapping[str, Any],
    accelerator: Accelerator,
    demo: Demo,
) -> None:
    """Train `generator` in place; at the end it has the averaged (EMA) weights.

    Args:
        generator: with fresh weights, or those of the teacher that it learns from.
        dataset: indexed by `Position`.
        collate: joins its items into a `Batch`.
        config: the experiment.
        stage: "generator" learns from data, as `train.generator` says; "distil" from recorded
            paths, as `distil.train` says.
        settings: what a checkpoint must have been made with to be continued.
        accelerator: places the model and, under `accelerate launch`, joins the processes.
        demo: called while the averaged weights are in place.
    """
    plan = config.train.generator
    if stage == "distil" and config.distil is not None:
        plan = config.distil.train
    trained = _on_device(generator, config, accelerator)
    optimizer = build_optimizer(trained, plan.optim, accelerator.mixed_precision)
    ema = EMA(trained, plan.ema_decay)
    model = trained if is_sharded(trained) else accelerator.prepare(trained)
    guard = Guard(accelerator, spike_factor=config.train.spike_factor)
    learner = _Learner(model, optimizer, accelerator, plan, guard, config.seed)
    state = Resumable(
        config.run.checkpoints(stage),
        modules={"generator": trained},
        optimizers={"generator": optimizer},
        ema=ema,
        settings=settings,
        allow_change=config.train.allow_change,
    )
    steps = Stage(
        name=stage,
        config=config,
        total_steps=plan.steps,
        batch_size=plan.batch_size,
        clip_seconds=config.data.clip_seconds,
        module=trained,
        product=generator,
        ema=ema,
        state=state,
        guard=guard,
        update=learner.update,
        demo=demo,
        accelerator=accelerator,
    )
    run_steps(steps, dataset, collate)


def _on_device(
    generator: LatentGenerator, config: ExperimentConfig, accelerator: Accelerator
) -> LatentGenerator:
    """What is trained: the generator, or a copy of it that is split over the processes."""
    if config.train.parallel == "ddp" or accelerator.num_processes == 1:
        generator.to(accelerator.device).train()
        prepare_blocks(generator, config.train)
        return generator
    trained = copy.deepcopy(generator.cpu()).to(accelerator.device).train()
    prepare_blocks(trained, config.train)
    shard_over_processes(trained, accelerator.device)
    return trained


@dataclass(frozen=True)
class _Learner:
    """A generator with its optimizer."""

    model: nn.Module
    optimizer: Optimizer
    accelerator: Accelerator
    plan: GeneratorTrainConfig
    guard: Guard
    seed: int

    def update(self, step: int, batch: Batch) -> dict[str, float]:
        """Update number `step`, over the micro-batches of `batch`."""
        plan, accelerator = self.plan, self.accelerator
        lr = lr_at(plan.optim, step, total_steps=plan.steps)
        set_lr(self.optimizer, lr)
        self.optimizer.zero_grad()
        metrics: dict[str, list[float]] = {}
        losses = []
        parts = batch.to(accelerator.device).split(plan.accumulate)
        share = places_of(accelerator, plan.batch_size)
        size = len(share) // len(parts)
        for number, part in enumerate(parts):
            places = share[number * size : (number + 1) * size]
            last = part is parts[-1]
            # Processes exchange gradients once, in the last micro-batch.
            exchange = contextlib.nullcontext() if last else self._without_exchange()
            with exchange, draws_of(self.seed, step, places):
                with accelerator.autocast():
                    output = self.model(part)
                accelerator.backward(output.loss / plan.accumulate)
            losses.append(output.loss.detach())
            for name, value in {"loss": output.loss, **output.metrics}.items():
                metrics.setdefault(name, []).append(float(value.detach()))
        limit = plan.optim.max_grad_norm
        norm = float(whole(accelerator.clip_grad_norm_(self.model.parameters(), limit)))
        if self.guard.allows(torch.stack(losses).mean(), norm):
            self.optimizer.step()
        means = {name: sum(values) / len(values) for name, values in metrics.items()}
        return {**means, "grad_norm": norm, "lr": lr}

    def _without_exchange(self) -> AbstractContextManager[None]:
        if is_sharded(self.model):
            return without_exchange(self.model)
        exchange: AbstractContextManager[None] = self.accelerator.no_sync(self.model)
        return exchange
