"""The network of diffusion and flow: a DiT that estimates clean latents at any level of noise."""

from __future__ import annotations

from abc import abstractmethod

from pydantic import Field
from torch import Tensor

from audiogen.conditioning.conditioner import Conditioner
from audiogen.generators.base import LatentGenerator
from audiogen.generators.config import NetworkConfig
from audiogen.generators.ode.infill import InfillConfig
from audiogen.generators.ode.scene import Scene
from audiogen.nn.dit import DiT
from audiogen.types import LatentSpec

TOKEN_RATE_HZ = 11.0
"""Tokens of the Transformer per second, about, unless the frames per token are given."""


class ODEConfig(NetworkConfig):
    """The network and the conditioning of diffusion and flow."""

    patch_frames: int | None = Field(default=None, gt=0)
    """Latent frames per token of the Transformer; null is as many as give about eleven tokens per
    second, so that the Transformer costs the same on every codec."""
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
        self.infill = config.infill
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

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Share of the clean latents in x = alpha clean + t noise."""

    @abstractmethod
    def denoise(self, x: Tensor, t: Tensor, scene: Scene) -> Tensor:
        """Estimate clean latents (B, D, L) from noisy x (B, D, L) at times t (B,)."""

    @abstractmethod
    def times(self, steps: int, num_frames: Tensor, level: float) -> Tensor:
        """Falling times (S + 1,) or (S + 1, B) of a solver, the last one zero.

        Args:
            steps: S.
            num_frames: of each item (B,).
            level: of the noise that the first time has, from above 0 to 1.
        """

    @abstractmethod
    def time_at(self, part: float) -> float:
        """The time that lies at `part` of the way from data (0) to noise (1)."""
