"""The training loop of every generator: one loss, from batches of latents."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from audiogen.generators import LatentGenerator
from audiogen.nn.chance import draws_of
from audiogen.train_config import GeneratorTrainConfig
from audiogen.training.distributed.sharding import (
    exchanging,
    is_sharded,
    shard_over_processes,
    whole,
)
from audiogen.training.loop.blocks import prepare_blocks
from audiogen.training.loop.divergence import Guard
from audiogen.training.loop.ema import EMA
from audiogen.training.loop.optim import build_optimizer, lr_at, set_lr
from audiogen.training.loop.reading import read
from audiogen.training.loop.stage import Examples, Learner, StageRun, StepResult
from audiogen.training.loop.steps import run_steps
from audiogen.types import Batch


def train_generator(
    generator: LatentGenerator, examples: Examples, config: GeneratorTrainConfig, run: StageRun
) -> None:
    """Train `generator` in place; at the end it has the averaged (EMA) weights.

    The examples are collated into a `Batch` of latents.
    """
    accelerator = run.accelerator
    trained = _on_device(generator, run)
    optimizer = build_optimizer(trained, config.optim, accelerator.mixed_precision)
    ema = EMA(trained, config.ema_decay)
    model = trained if is_sharded(trained) else accelerator.prepare(trained)
    guard = Guard(run.config.spike_factor)
    learner = Learner(
        update=_Update(model, optimizer, guard, config, run),
        modules={"generator": trained},
        optimizers={"generator": optimizer},
        ema=ema,
        product=generator,
        guard=guard,
    )
    run_steps(learner, examples, config, run)


def _on_device(generator: LatentGenerator, run: StageRun) -> LatentGenerator:
    """What is trained: the generator, or a copy of it that is split over the processes."""
    is_split = run.config.parallel == "fsdp" and run.accelerator.num_processes > 1
    trained = copy.deepcopy(generator.cpu()) if is_split else generator
    trained.to(run.accelerator.device).train()
    prepare_blocks(trained, run.config)
    if is_split:
        shard_over_processes(trained, run.accelerator.device)
    return trained


@dataclass(frozen=True)
class _Update:
    """One optimizer update of a generator."""

    model: nn.Module
    optimizer: Optimizer
    guard: Guard
    config: GeneratorTrainConfig
    run: StageRun

    def __call__(self, step: int, batch: Batch) -> StepResult:
        """Do update number `step`, over the micro-batches of `batch`."""
        config, accelerator = self.config, self.run.accelerator
        lr = lr_at(config.optim, step, total_steps=config.steps)
        set_lr(self.optimizer, lr)
        self.optimizer.zero_grad()
        parts = batch.to(accelerator.device).split(config.accumulate)
        places = self.run.places(config.batch_size)
        size = len(places) // len(parts)
        losses: dict[str, list[Tensor]] = {}
        for number, part in enumerate(parts):
            here = places[number * size : (number + 1) * size]
            exchange = exchanging(self.model, accelerator, is_last=part is parts[-1])
            with exchange, draws_of(self.run.seed, step, here):
                with accelerator.autocast():
                    output = self.model(part)
                accelerator.backward(output.loss / len(parts))
            for name, value in {"loss": output.loss, **output.metrics}.items():
                losses.setdefault(name, []).append(value.detach())
        means = {name: torch.stack(values).nanmean() for name, values in losses.items()}
        means["loss"] = torch.stack(losses["loss"]).mean()  # one that is NaN must be seen
        limit = config.optim.max_grad_norm
        norm = whole(accelerator.clip_grad_norm_(self.model.parameters(), limit))
        found = read(means, norm)
        fault = self.guard.judge(found.loss, found.norm)
        if not fault:
            self.optimizer.step()
        return StepResult(
            losses=found.own, grad_norm=found.norms[0], lr=lr, left_out=fault, stops=found.stops
        )
