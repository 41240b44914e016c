"""Latent diffusion with EDM preconditioning (Karras et al. 2022) on a DiT.

Its levels of noise, in training and in sampling, are those of a flow: sigma = t / (1 - t).
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
    """EDM diffusion over continuous latents."""

    type: Literal["diffusion"] = "diffusion"
    sigma_data: float = Field(default=1.0, gt=0)
    """Standard deviation of the latents; codecs give one."""
    sigma_max: float = Field(default=60.0, gt=0)
    """Where sampling starts."""


class DiffusionGenerator(ODEGenerator):
    """D(x; sigma) = c_skip x + c_out F(c_in x, c_noise), trained to give back clean latents.

    Its time is sigma.
    """

    config: DiffusionConfig
    level_borders: ClassVar[tuple[float, ...]] = (0.0, 0.3, 1.0, 3.0, float("inf"))

    def alpha(self, t: Tensor) -> Tensor:
        """One: noise is added to latents that keep their size."""
        return torch.ones_like(t)

    def denoise(self, x: Tensor, t: Tensor, scene: Scene) -> Tensor:
        """Estimate clean latents (B, D, L) from noisy x (B, D, L) at sigma = t (B,)."""
        c_skip, c_out, c_in = preconditioning(t[:, None, None], self.config.sigma_data)
        level = t.log() / 4  # c_noise, table 1
        raw = self.network(c_in * x, level, scene.mask, scene.context, given=scene.given)
        denoised: Tensor = c_skip * x + c_out * raw.float()
        return denoised

    def weight(self, t: Tensor) -> Tensor:
        """lambda(sigma) of eq. 8, as in table 1."""
        sigma_data = self.config.sigma_data
        return (t**2 + sigma_data**2) / (t * sigma_data) ** 2

    @property
    def highest_level(self) -> float:
        """That of `sigma_max`."""
        return self.config.sigma_max / (self.config.sigma_max + self.config.sigma_data)

    def time_at(self, level: Tensor) -> Tensor:
        """Sigma, up to `sigma_max`."""
        return (self.config.sigma_data * level / (1 - level)).clamp_max(self.config.sigma_max)


def preconditioning(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor, Tensor]:
    """c_skip, c_out and c_in at `sigma` (Karras et al. 2022, table 1)."""
    total = sigma**2 + sigma_data**2
    return sigma_data**2 / total, sigma * sigma_data / total.sqrt(), 1 / total.sqrt()
