"""Latent diffusion with EDM preconditioning (Karras et al. 2022) on a DiT."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from audiogen.generators.ode.base import ODEGenerator
from audiogen.generators.ode.denoiser import ODEConfig
from audiogen.generators.ode.scene import Scene
from audiogen.generators.solvers import karras_sigmas
from audiogen.nn.chance import randn


class DiffusionConfig(ODEConfig):
    """EDM diffusion over continuous latents."""

    type: Literal["diffusion"] = "diffusion"
    sigma_data: float = Field(default=1.0, gt=0)
    """Standard deviation of the latents; codecs give one."""
    sigma_min: float = Field(default=0.01, gt=0)
    sigma_max: float = Field(default=60.0, gt=0)
    """Where sampling starts: what is alike in all frames, such as a pitch or a colour, is decided
    at levels of about the square root of their number times its size."""
    log_sigma_mean: float = 0.8
    """Mean of ln sigma while training (P_mean in the paper), higher than for single pictures."""
    log_sigma_std: float = Field(default=1.4, gt=0)
    """Standard deviation of ln sigma while training (P_std in the paper)."""


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

    def draw_times(self, num_frames: Tensor) -> Tensor:
        """Levels whose logarithm is normal (Karras et al. 2022, table 1)."""
        log_sigma = randn(num_frames.shape, num_frames.device)
        return (log_sigma * self.config.log_sigma_std + self.config.log_sigma_mean).exp()

    def weight(self, t: Tensor) -> Tensor:
        """lambda(sigma) of eq. 8, as in table 1."""
        sigma_data = self.config.sigma_data
        return (t**2 + sigma_data**2) / (t * sigma_data) ** 2

    def times(self, steps: int, num_frames: Tensor, level: float) -> Tensor:
        """Levels of Karras et al.; `level` is noise / (noise + signal), as in a flow."""
        del num_frames
        config = self.config
        highest = config.sigma_max if level == 1 else level / (1 - level)
        highest = min(max(highest, 1.01 * config.sigma_min), config.sigma_max)
        return karras_sigmas(steps, config.sigma_min, highest)

    def time_at(self, part: float) -> float:
        """Noise level at `part` of the way from data (0) to noise (1), on a logarithmic scale."""
        if part <= 0 or part >= 1:
            return 0.0 if part <= 0 else float("inf")
        config = self.config
        return float(config.sigma_min * (config.sigma_max / config.sigma_min) ** part)


def preconditioning(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor, Tensor]:
    """c_skip, c_out and c_in at `sigma` (Karras et al. 2022, table 1)."""
    total = sigma**2 + sigma_data**2
    return sigma_data**2 / total, sigma * sigma_data / total.sqrt(), 1 / total.sqrt()
