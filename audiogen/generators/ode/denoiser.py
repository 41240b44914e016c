"""The network of diffusion and flow: a DiT that estimates clean latents at any level of noise."""

from __future__ import annotations

from abc import abstractmethod

import torch
from pydantic import Field
from torch import Tensor

from audiogen.conditioning.conditioner import Conditioner
from audiogen.generators.base import LatentGenerator
from audiogen.generators.config import NetworkConfig
from audiogen.generators.ode.infill import InfillConfig
from audiogen.generators.ode.scene import Scene
from audiogen.generators.solvers import shifted
from audiogen.nn.dit import DiT
from audiogen.types import LatentSpec

TOKEN_RATE_HZ = 11.0
"""Tokens of the Transformer per second, about, unless the frames per token are given."""


class ODEConfig(NetworkConfig):
    """The network and the conditioning of diffusion and flow."""

    patch_frames: int | None = Field(default=None, gt=0)
    """Latent frames per token of the Transformer; null is as many as give about eleven tokens per
    second, so that the Transformer costs the same on every codec."""
    level_mean: float = 0.0
    """Mean of logit u while training; a level u is noise / (noise + signal) before the shift, and
    logit-normal (Esser et al. 2024, arXiv 2403.03206, eq. 19)."""
    level_std: float = Field(default=1.0, gt=0)
    """Standard deviation of logit u while training."""
    level_shift: float = Field(default=3.0, gt=0, le=20)
    """By how much the ratio of noise to signal is raised, in training and sampling, for sounds as
    long as the training window; it grows with the square root of the number of frames. What is
    alike in all frames, such as a pitch or a colour, is decided at high noise."""
    infill: InfillConfig = InfillConfig()

    def frames_per_token(self, spec: LatentSpec) -> int:
        """Latent frames of `spec` that make one token."""
        return self.patch_frames or max(1, round(spec.frame_rate / TOKEN_RATE_HZ))


class Denoiser(LatentGenerator):
    """A generator whose noisy latents at time t are x = alpha(t) clean + t noise."""

    def __init__(
        self, config: ODEConfig, spec: LatentSpec, text_dim: int, window_frames: int
    ) -> None:
        super().__init__(config, spec, text_dim, window_frames)
        self.infill, self._level_shift = config.infill, config.level_shift
        self.keeps = "anything" if config.infill.is_on else "nothing"
        self.conditioner = Conditioner(config.conditioner, text_dim, config.dim)
        self.network = DiT(
            spec.channels,
            config.dim,
            config.depth,
            config.num_heads,
            config.frames_per_token(spec),
            infill=config.infill.is_on,
        )

    @property
    def highest_level(self) -> float:
        """The level of noise where sampling starts."""
        return 1.0

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Share of the clean latents in x = alpha clean + t noise."""

    @abstractmethod
    def denoise(self, x: Tensor, t: Tensor, scene: Scene) -> Tensor:
        """Estimate clean latents (B, D, L) from noisy x (B, D, L) at times t (B,)."""

    def predict(self, x: Tensor, level: Tensor, scene: Scene) -> Tensor:
        """What the network gives, float32 (B, D, L), of scaled x and levels (B,) of order one."""
        out: Tensor = self.network(
            x, level, scene.mask, scene.context, given=scene.given, left_out=scene.left_out
        )
        return out.float()

    @abstractmethod
    def time_at(self, level: Tensor) -> Tensor:
        """Times at which noise is `level` of noise plus signal, from 0 (data) to 1 (noise)."""

    def times(self, steps: int, num_frames: Tensor, level: float = 1.0) -> Tensor:
        """Falling times (S + 1, B) of a solver, the last ones zero.

        Args:
            steps: S, even ones before the shift.
            num_frames: of each item (B,).
            level: of the noise that the first time has, from above 0 to 1.
        """
        shift = self.shift(num_frames)
        highest = torch.as_tensor(min(level, self.highest_level), device=shift.device)
        first = shifted(highest, 1 / shift)
        ramp = torch.linspace(1, 0, steps + 1, device=shift.device)[:, None]
        return self.time_at(shifted(ramp * first, shift))

    def shift(self, num_frames: Tensor) -> Tensor:
        """Shift (B,) of the levels of items of `num_frames` (B,)."""
        return self._level_shift * (num_frames / self.window_frames).sqrt()
