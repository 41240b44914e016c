"""Rectified flow (Liu et al. 2023; Lipman et al. 2023) over latents, on the same DiT."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from audiogen.generators.ode.base import ODEGenerator
from audiogen.generators.ode.coupling import couple
from audiogen.generators.ode.denoiser import ODEConfig
from audiogen.generators.ode.scene import Scene
from audiogen.nn.chance import randn


class FlowConfig(ODEConfig):
    """Flow matching over continuous latents."""

    type: Literal["flow"] = "flow"
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
        return x - t[:, None, None] * self.predict(x, 2 * t - 1, scene)

    def weight(self, t: Tensor) -> Tensor:
        """1 / t^2, with which the error of D is that of the velocity (Lipman et al., eq. 14)."""
        return t**-2

    def draw_noise(self, clean: Tensor, mask: Tensor) -> Tensor:
        """Standard normal noise, coupled with the latents where the configuration says so."""
        noise = randn(clean.shape, clean.device)
        if self.config.coupling == "optimal_transport":
            return noise[couple(clean, noise, mask)]
        return noise

    def time_at(self, level: Tensor) -> Tensor:
        """The level itself."""
        return level
