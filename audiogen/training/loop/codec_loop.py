"""The training loop of every codec: spectral distances, then discriminators as well."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from audiogen.codecs import Codec
from audiogen.codecs.discriminators import Discriminators
from audiogen.codecs.losses import (
    SpectralDistance,
    adversarial_loss,
    discriminator_loss,
    draw_views,
    feature_matching_loss,
    viewed,
)
from audiogen.nn.chance import draws_of
from audiogen.train_config import CodecTrainConfig
from audiogen.training.loop.blocks import prepare_blocks
from audiogen.training.loop.divergence import Guard, Undo
from audiogen.training.loop.ema import EMA
from audiogen.training.loop.optim import adamw, build_optimizer, lr_at, set_lr
from audiogen.training.loop.reading import read
from audiogen.training.loop.stage import Examples, Learner, StageRun, StepResult
from audiogen.training.loop.steps import run_steps


def train_codec(codec: Codec, examples: Examples, config: CodecTrainConfig, run: StageRun) -> None:
    """Train `codec` in place; at the end it has the averaged (EMA) weights.

    The examples are collated into wav (B, C, T), T a multiple of the hop length.
    """
    accelerator, optim = run.accelerator, config.optim
    codec.to(accelerator.device).train()
    prepare_blocks(codec, run.config)
    discriminators = Discriminators(config.discriminators, codec.spec.sample_rate)
    discriminators.to(accelerator.device)
    distance = SpectralDistance(config.spectral, codec.spec.sample_rate).to(accelerator.device)
    optimizer = build_optimizer(codec, optim, accelerator.mixed_precision)
    rival = adamw(discriminators, optim.model_copy(update={"lr": config.discriminator_lr}))
    ema = EMA(codec, config.ema_decay)
    model, critic, _, _ = accelerator.prepare(codec, discriminators, optimizer, rival)
    guard = Guard(run.config.spike_factor)
    learner = Learner(
        update=_Update(model, critic, optimizer, rival, distance, guard, config, run),
        modules={"codec": codec, "discriminators": discriminators},
        optimizers={"codec": optimizer, "discriminators": rival},
        ema=ema,
        product=codec,
        guard=guard,
    )
    run_steps(learner, examples, config, run)


@dataclass(frozen=True)
class _Update:
    """One optimizer update of a codec, and of its discriminators once they have come in."""

    codec: nn.Module
    discriminators: nn.Module
    optimizer: Optimizer
    rival: Optimizer
    distance: SpectralDistance
    guard: Guard
    config: CodecTrainConfig
    run: StageRun

    def __call__(self, step: int, wav: Tensor) -> StepResult:
        """Do update number `step` on excerpts wav (B, C, T)."""
        with draws_of(self.run.seed, step, self.run.places(self.config.batch_size)):
            device = self.run.accelerator.device
            return self._update(step, wav.to(device, non_blocking=wav.is_pinned()))

    def _update(self, step: int, wav: Tensor) -> StepResult:
        config = self.config
        lr = lr_at(config.optim, step, total_steps=config.steps)
        set_lr(self.optimizer, lr)
        undo = Undo(self.codec.buffers())  # codebooks learn in the forward pass
        output = self.codec(wav)
        views = draw_views(wav)
        real, *fakes = (viewed(one, views) for one in (wav, *output.reconstructions))
        losses = {**self.distance(real, *fakes), **output.losses}
        optimizers, told, rival_norms = [self.optimizer], {}, []
        if step >= config.adversarial_start * config.steps:
            set_lr(self.rival, config.discriminator_lr * lr / config.optim.lr)
            optimizers.append(self.rival)
            told["discriminator"], norm, real_maps = self._rivalry(real, fakes[0])
            rival_norms.append(norm)
            losses |= self._judge(real_maps, fakes[0])
        loss = torch.stack(list(losses.values())).sum()
        norm = self._gradient(self.optimizer, self.codec, loss)
        found = read({"loss": loss, **losses, **told}, norm, *rival_norms)
        fault = self.guard.judge(found.loss, found.norm, phase=len(losses))
        if fault:
            undo.restore()
        else:
            for optimizer in optimizers:
                optimizer.step()
        return StepResult(
            losses=found.own, grad_norm=found.norms[0], lr=lr, left_out=fault, stops=found.stops
        )

    def _rivalry(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor, list[list[Tensor]]]:
        """Gradients of the discriminators; return loss, the norm of these and maps of `real`."""
        real_scores, real_maps = self.discriminators(real)
        fake_scores, _ = self.discriminators(fake.detach())
        loss = discriminator_loss(real_scores, fake_scores)
        return loss, self._gradient(self.rival, self.discriminators, loss), real_maps

    def _judge(self, real_maps: list[list[Tensor]], fake: Tensor) -> dict[str, Tensor]:
        """Weighted losses that the discriminators give the codec."""
        self.discriminators.requires_grad_(requires_grad=False)
        fake_scores, fake_maps = self.discriminators(fake)
        self.discriminators.requires_grad_(requires_grad=True)
        return {
            "adversarial": self.config.adversarial_weight * adversarial_loss(fake_scores),
            "feature_matching": self.config.feature_weight
            * feature_matching_loss(real_maps, fake_maps),
        }

    def _gradient(self, optimizer: Optimizer, module: nn.Module, loss: Tensor) -> Tensor:
        """Backward and clip; return the gradient's norm ()."""
        optimizer.zero_grad()
        self.run.accelerator.backward(loss)
        limit = self.config.optim.max_grad_norm
        norm: Tensor = self.run.accelerator.clip_grad_norm_(module.parameters(), limit)
        return norm
