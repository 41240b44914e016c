"""Latent diffusion on a DiT.

Noise is added to latents that keep their size, as in Karras et al. 2022 (EDM). The network is
preconditioned as that of a flow, of which Gaussian diffusion is another notation (Gao et al. 2024,
"Diffusion meets flow matching"): with EDM's own preconditioning the same network on the same
latents came out behind the flow in every pair that was trained.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from audiogen.generators.ode.base import ODEGenerator
from audiogen.generators.ode.denoiser import ODEConfig
from audiogen.generators.ode.scene import Scene


class DiffusionConfig(ODEConfig):
    """Diffusion over continuous latents."""

    type: Literal["diffusion"] = "diffusion"
    sigma_data: float = Field(default=1.0, gt=0)
    """Standard deviation of the latents; codecs give one."""
    sigma_max: float = Field(default=60.0, gt=0)
    """Where sampling starts."""


class DiffusionGenerator(ODEGenerator):
    """D(x; sigma) = c_skip x + c_out F(c_in x, level), trained to give back clean latents.

    Its time is sigma.
    """

    config: DiffusionConfig
    level_borders: ClassVar[tuple[float, ...]] = (0.0, 0.3, 1.0, 3.0, float("inf"))

    def alpha(self, t: Tensor) -> Tensor:
        """One: noise is added to latents that keep their size."""
        return torch.ones_like(t)

    def denoise(self, x: Tensor, t: Tensor, scene: Scene) -> Tensor:
        """Estimate clean latents (B, D, L) from noisy x (B, D, L) at sigma = t (B,)."""
        sigma_data = self.config.sigma_data
        c_skip, c_out, c_in = preconditioning(t[:, None, None], sigma_data)
        level = 2 * t / (t + sigma_data) - 1
        return c_skip * x + c_out * self.predict(c_in * x, level, scene)

    def weight(self, t: Tensor) -> Tensor:
        """1 / c_out^2, with which the error of D is that of the network."""
        return preconditioning(t, self.config.sigma_data)[1] ** -2

    @property
    def highest_level(self) -> float:
        """That of `sigma_max`."""
        return self.config.sigma_max / (self.config.sigma_max + self.config.sigma_data)

    def time_at(self, level: Tensor) -> Tensor:
        """Sigma, up to `sigma_max`."""
        return (self.config.sigma_data * level / (1 - level)).clamp_max(self.config.sigma_max)


def preconditioning(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor, Tensor]:
    """c_skip, c_out and c_in at `sigma`, with which the network tells noise minus latents.

    Latents are divided by `sigma_data` first, so that both have a deviation of one. What the
    network sees, c_in x, lies on the straight line between them, at the place sigma / (sigma +
    sigma_data).
    """
    total = sigma + sigma_data
    return sigma_data / total, -sigma * sigma_data / total, 1 / total
