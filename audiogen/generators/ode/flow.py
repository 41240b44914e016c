"""Rectified flow (Liu et al. 2023; Lipman et al. 2023) over latents, on the same DiT."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from audiogen.generators.ode.base import ODEGenerator
from audiogen.generators.ode.coupling import couple
from audiogen.generators.ode.denoiser import ODEConfig
from audiogen.generators.ode.scene import Scene
from audiogen.generators.solvers import shifted
from audiogen.nn.chance import randn


class FlowConfig(ODEConfig):
    """Flow matching over continuous latents."""

    type: Literal["flow"] = "flow"
    time_mean: float = 0.0
    """Mean of logit t while training (logit-normal; Esser et al. 2024, eq. 19)."""
    time_std: float = Field(default=1.0, gt=0)
    """Standard deviation of logit t while training."""
    time_shift: float = Field(default=3.0, gt=0, le=20)
    """Shift of times towards noise, for sounds as long as the training window; it grows with the
    square root of the number of frames."""
    coupling: Literal["independent", "optimal_transport"] = "independent"
    """Which noise meets which latents in a training batch. Optimal transport makes straighter
    paths for unconditional sets; with prompts it ties noise to classes, which costs quality. The
    batch it looks at is a process's own micro-batch: only here do their number and size matter."""


class FlowGenerator(ODEGenerator):
    """v(x, t) = dx/dt on straight lines x = (1 - t) clean + t noise, so that D = x - t v."""

    config: FlowConfig
    level_borders: ClassVar[tuple[float, ...]] = (0.0, 0.25, 0.5, 0.75, 1.01)

    def alpha(self, t: Tensor) -> Tensor:
        """1 - t."""
        return 1 - t

    def denoise(self, x: Tensor, t: Tensor, scene: Scene) -> Tensor:
        """Estimate clean latents (B, D, L) from x (B, D, L) at times t (B,)."""
        v: Tensor = self.network(x, 2 * t - 1, scene.mask, scene.context, given=scene.given)
        return x - t[:, None, None] * v.float()

    def draw_times(self, num_frames: Tensor) -> Tensor:
        """Logit-normal times, shifted as in sampling."""
        config = self.config
        logits = randn(num_frames.shape, num_frames.device)
        t = torch.sigmoid(logits * config.time_std + config.time_mean)
        return shifted(t, self._shift(num_frames))

    def weight(self, t: Tensor) -> Tensor:
        """1 / t^2, with which the error of D is that of the velocity (Lipman et al., eq. 14)."""
        return t**-2

    def draw_noise(self, clean: Tensor, mask: Tensor) -> Tensor:
        """Standard normal noise, coupled with the latents where the configuration says so."""
        noise = randn(clean.shape, clean.device)
        if self.config.coupling == "optimal_transport":
            return noise[couple(clean, noise, mask)]
        return noise

    def times(self, steps: int, num_frames: Tensor, level: float) -> Tensor:
        """Even steps from `level` to 0, shifted towards noise by each item's length."""
        shift = self._shift(num_frames)
        first = shifted(torch.as_tensor(level, device=shift.device), 1 / shift)
        ramp = torch.linspace(1, 0, steps + 1, device=shift.device)[:, None]
        return shifted(ramp * first, shift)

    def time_at(self, part: float) -> float:
        """The time itself; beyond 1 at the very end, where rounding must not cut it off."""
        return part if part < 1 else float("inf")

    def _shift(self, num_frames: Tensor) -> Tensor:
        """Shift of each item (B,): its signal-to-noise ratio at a time is that of the window."""
        return self.config.time_shift * (num_frames / self.window_frames).sqrt()
