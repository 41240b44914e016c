"""The training loop of every codec: spectral distances, then discriminators as well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from audiogen.codecs import Codec
from audiogen.codecs.discriminators import Discriminators
from audiogen.codecs.losses import (
    SpectralDistance,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
)
from audiogen.experiment import CodecTrainConfig, ExperimentConfig
from audiogen.nn.chance import draws_of
from audiogen.training.checkpoint.resume import Resumable
from audiogen.training.loop.blocks import prepare_blocks
from audiogen.training.loop.divergence import Guard, Undo
from audiogen.training.loop.ema import EMA
from audiogen.training.loop.optim import adamw, build_optimizer, lr_at, set_lr
from audiogen.training.loop.steps import Demo, Items, Stage, places_of, run_steps


def train_codec(
    codec: Codec,
    dataset: Items,
    *,
    config: ExperimentConfig,
    settings: Mapping[str, Any],
    accelerator: Accelerator,
    demo: Demo,
) -> None:
    """Train `codec` in place; at the end it has the averaged (EMA) weights.

    Args:
        codec: with fresh weights.
        dataset: excerpts (C, T) indexed by `Position`, T a multiple of the hop length.
        config: the experiment; `train.codec` rules this stage.
        settings: what a checkpoint must have been made with to be continued.
        accelerator: places the models and, under `accelerate launch`, joins the processes.
        demo: called while the averaged weights are in place.
    """
    plan = config.train.codec
    device = accelerator.device
    codec.to(device).train()
    prepare_blocks(codec, config.train)
    discriminators = Discriminators(plan.discriminators, codec.spec.audio_channels).to(device)
    distance = SpectralDistance(plan.spectral, codec.spec.sample_rate).to(device)
    betas, decay = plan.optim.betas, plan.optim.weight_decay
    optimizer = build_optimizer(codec, plan.optim, accelerator.mixed_precision)
    rival = adamw(discriminators, lr=plan.discriminator_lr, betas=betas, weight_decay=decay)
    ema = EMA(codec, plan.ema_decay)
    model, critic, _, _ = accelerator.prepare(codec, discriminators, optimizer, rival)
    guard = Guard(accelerator, spike_factor=config.train.spike_factor)
    players = _Players(
        model, critic, optimizer, rival, distance, guard, accelerator, plan, config.seed
    )
    state = Resumable(
        config.run.checkpoints("codec"),
        modules={"codec": codec, "discriminators": discriminators},
        optimizers={"codec": optimizer, "discriminators": rival},
        ema=ema,
        settings=settings,
        allow_change=config.train.allow_change,
    )
    stage = Stage(
        name="codec",
        config=config,
        total_steps=plan.steps,
        batch_size=plan.batch_size,
        clip_seconds=plan.crop_seconds,
        module=codec,
        product=codec,
        ema=ema,
        state=state,
        guard=guard,
        update=players.update,
        demo=demo,
        accelerator=accelerator,
    )
    run_steps(stage, dataset, _stack)


def _stack(excerpts: Sequence[Tensor]) -> Tensor:
    """Join excerpts (C, T) to (B, C, T)."""
    return torch.stack(list(excerpts))


@dataclass(frozen=True)
class _Players:
    """Codec and discriminators with their optimizers; one `update` trains both."""

    codec: nn.Module
    discriminators: nn.Module
    optimizer: Optimizer
    rival: Optimizer
    distance: SpectralDistance
    guard: Guard
    accelerator: Accelerator
    plan: CodecTrainConfig
    seed: int

    def update(self, step: int, wav: Tensor) -> dict[str, float]:
        """Update number `step` on excerpts wav (B, C, T)."""
        with draws_of(self.seed, step, places_of(self.accelerator, self.plan.batch_size)):
            return self._update(step, wav)

    def _update(self, step: int, wav: Tensor) -> dict[str, float]:
        plan = self.plan
        wav = wav.to(self.accelerator.device)
        lr = lr_at(plan.optim, step, total_steps=plan.steps)
        set_lr(self.optimizer, lr)
        undo = [Undo(self.codec.buffers())]  # codebooks learn in the forward pass
        output = self.codec(wav)
        guesses = [output.reconstruction]
        if output.alternative is not None:
            guesses.append(output.alternative)
        losses = {**self.distance(wav, *guesses), **output.losses}
        metrics, rival_norm = {}, 0.0
        if step >= plan.adversarial_start * plan.steps:
            set_lr(self.rival, plan.discriminator_lr * lr / plan.optim.lr)
            undo.append(Undo(self.discriminators.state_dict().values(), self.rival))
            rivalry, rival_norm, real_maps = self._train_discriminators(wav, output.reconstruction)
            metrics["discriminator"] = rivalry
            losses |= self._judge(real_maps, output.reconstruction)
        loss = torch.stack(list(losses.values())).sum()
        norm = self._gradient(self.optimizer, self.codec, loss)
        if self.guard.allows(loss, norm + rival_norm, phase=len(losses)):
            self.optimizer.step()
        else:
            for one in undo:
                one.restore()
        metrics |= {name: float(value.detach()) for name, value in losses.items()}
        return {"loss": float(loss.detach()), **metrics, "grad_norm": norm, "lr": lr}

    def _train_discriminators(
        self, real: Tensor, fake: Tensor
    ) -> tuple[float, float, list[list[Tensor]]]:
        """One step of the discriminators; return loss, gradient's norm and maps of `real`."""
        real_scores, real_maps = self.discriminators(real)
        fake_scores, _ = self.discriminators(fake.detach())
        loss = discriminator_loss(real_scores, fake_scores)
        norm = self._gradient(self.rival, self.discriminators, loss)
        if math.isfinite(norm):
            self.rival.step()
        return float(loss.detach()), norm, real_maps

    def _judge(self, real_maps: list[list[Tensor]], fake: Tensor) -> dict[str, Tensor]:
        """Weighted losses that the discriminators give the codec."""
        self.discriminators.requires_grad_(requires_grad=False)
        fake_scores, fake_maps = self.discriminators(fake)
        self.discriminators.requires_grad_(requires_grad=True)
        return {
            "adversarial": self.plan.adversarial_weight * adversarial_loss(fake_scores),
            "feature_matching": self.plan.feature_weight
            * feature_matching_loss(real_maps, fake_maps),
        }

    def _gradient(self, optimizer: Optimizer, module: nn.Module, loss: Tensor) -> float:
        """Backward and clip; return the gradient's norm."""
        optimizer.zero_grad()
        self.accelerator.backward(loss)
        limit = self.plan.optim.max_grad_norm
        return float(self.accelerator.clip_grad_norm_(module.parameters(), limit))
