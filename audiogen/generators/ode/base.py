"""What diffusion and flow share: the objective over noisy latents, and an ODE that undoes noise."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from audiogen.generators.abilities import HasPaths, PredictsLatents
from audiogen.generators.base import mean_where
from audiogen.generators.ode.denoiser import Denoiser, ODEConfig
from audiogen.generators.ode.infill import draw_kept_frames
from audiogen.generators.ode.likelihood import bits_per_dimension
from audiogen.generators.ode.run import Run
from audiogen.generators.ode.scene import Scene
from audiogen.generators.request import Request, of_kind
from audiogen.generators.sampling import ODESamplingConfig, SamplingConfig
from audiogen.generators.solvers import shifted
from audiogen.generators.windows import in_batches
from audiogen.nn.chance import randn
from audiogen.types import Batch, Kind, LossOutput, PathPoint


class ODEGenerator(Denoiser, HasPaths, PredictsLatents):
    """A generator that solves dx/dt = (x - D(x; t)) / t from noise at the first time to t = 0.

    Subclasses say how clean latents and noise mix (`alpha`), what D is (`denoise`), which time
    belongs to a level of noise (`time_at`), and how training weighs times (`weight`).
    """

    config: ODEConfig
    accepts: ClassVar[Kind] = "continuous"
    sampling = ODESamplingConfig
    loops = True
    level_borders: ClassVar[tuple[float, ...]]
    """Times between which the losses of items are logged together, from data to noise."""

    @abstractmethod
    def weight(self, t: Tensor) -> Tensor:
        """Weight (B,) of the squared error of `denoise` at times t (B,)."""

    def draw_times(self, num_frames: Tensor) -> Tensor:
        """Random times (B,) of a training batch, for items of `num_frames` (B,)."""
        logits = randn(num_frames.shape, num_frames.device)
        levels = torch.sigmoid(logits * self.config.level_std + self.config.level_mean)
        return self.time_at(shifted(levels, self.shift(num_frames)))

    def draw_noise(self, clean: Tensor, mask: Tensor) -> Tensor:
        """Standard normal noise for latents (B, D, L) with real frames `mask` (B, L)."""
        del mask
        return randn(clean.shape, clean.device)

    def draw_kept_frames(self, mask: Tensor) -> Tensor:
        """Draw which of the real frames `mask` (B, L) are given in training: (B, L)."""
        return draw_kept_frames(self.infill, mask)

    def forward(self, batch: Batch) -> LossOutput:
        """Weighted squared error of `denoise` over the frames that are real and not given."""
        point = batch.point or self._draw_point(batch)
        scene = Scene(
            context=self.conditioner(batch.conditions),
            mask=batch.padding,
            known=point.known,
            keep=point.keep,
        )
        error = (self.denoise(point.noisy, point.t, scene) - batch.latents).square()
        frames = batch.mask if point.keep is None else batch.mask & ~point.keep
        per_frame = error.mean(dim=1) * frames
        per_item = per_frame.sum(dim=1) / frames.sum(dim=1).clamp_min(1)
        per_item = self.weight(point.t) * per_item
        return LossOutput(
            loss=per_item.mean(), metrics=_by_level(per_item.detach(), point.t, self.level_borders)
        )

    def _draw_point(self, batch: Batch) -> PathPoint:
        """Mix the batch's latents with noise, and draw which frames are given."""
        t = self.draw_times(batch.mask.sum(dim=1))
        wide = t[:, None, None]
        noise = self.draw_noise(batch.latents, batch.mask)
        noisy = self.alpha(wide) * batch.latents + wide * noise
        if not self.infill.is_on:
            return PathPoint(noisy=noisy, t=t)
        keep = self.draw_kept_frames(batch.mask)
        return PathPoint(noisy=noisy, t=t, known=batch.latents, keep=keep)

    def draw(self, request: Request) -> Tensor:
        """Solve the ODE from noise to latents (B, D, L); see `LatentGenerator.sample`."""
        return in_batches(lambda part: Run(self, part).latents(), request, self.window_frames)

    def network_evaluations(self, sampling: SamplingConfig, num_frames: int) -> int:
        """Evaluations of the network for one take; they do not depend on its length."""
        del num_frames
        return of_kind(ODESamplingConfig, sampling).network_evaluations

    @torch.no_grad()
    def trace(self, request: Request) -> tuple[Tensor, Tensor, Tensor]:
        """Sample and return points, times and end of the way; see `HasPaths`."""
        self.check(request)
        way: list[tuple[Tensor, Tensor]] = []
        end = Run(self, request, lambda x, t: way.append((x, t))).latents()
        points, times = (torch.stack(part) for part in zip(*way, strict=True))
        return points, times, end

    def bits_per_dimension(self, batch: Batch, *, seeds: Sequence[int]) -> Tensor:
        """Bits per latent number (B,); see `likelihood`."""
        return bits_per_dimension(self, batch, seeds=seeds)


def _by_level(losses: Tensor, t: Tensor, borders: Sequence[float]) -> dict[str, Tensor]:
    """Mean loss of the items between neighbouring times; NaN where there is none."""
    return {
        f"loss_level_{index}": mean_where(losses, (t >= low) & (t < high))
        for index, (low, high) in enumerate(itertools.pairwise(borders))
    }
