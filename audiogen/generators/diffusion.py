"""Latent diffusion with EDM preconditioning (Karras et al. 2022) on a DiT."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from audiogen.conditioning.conditioner import Conditioner, ConditionerConfig
from audiogen.generators.base import LatentGenerator, SamplingConfig, seeded_noise
from audiogen.generators.guidance import guided
from audiogen.generators.solvers import SOLVERS, Drift, karras_sigmas
from audiogen.generators.windows import over_windows
from audiogen.nn.dit import DiT
from audiogen.schema import Config
from audiogen.types import Batch, Conditions, Context, Kind, LatentSpec, LossOutput

SIGMA_BUCKETS = (0.0, 0.3, 1.0, 3.0, float("inf"))
"""Borders of the noise levels whose losses are logged apart."""


class DiffusionConfig(Config):
    """EDM diffusion over continuous latents."""

    type: Literal["diffusion"] = "diffusion"
    dim: int = Field(default=384, gt=0)
    depth: int = Field(default=8, gt=0)
    num_heads: int = Field(default=6, gt=0)
    patch_frames: int = Field(default=2, gt=0)
    """Latent frames per token of the Transformer."""
    sigma_data: float = Field(default=1.0, gt=0)
    """Standard deviation of the latents; codecs give one."""
    sigma_min: float = Field(default=0.01, gt=0)
    sigma_max: float = Field(default=15.0, gt=0)
    """Where sampling starts. Levels far above what training sees often (exp(2.7) here) are not
    learnt well, and takes that start there tend to end in silence."""
    log_sigma_mean: float = 0.0
    """Mean of ln sigma while training (P_mean in the paper)."""
    log_sigma_std: float = Field(default=1.2, gt=0)
    """Standard deviation of ln sigma while training (P_std in the paper)."""
    conditioner: ConditionerConfig = ConditionerConfig()


class DiffusionGenerator(LatentGenerator):
    """D(x; sigma) = c_skip x + c_out F(c_in x, c_noise), trained to give back clean latents."""

    accepts: ClassVar[Kind] = "continuous"

    def __init__(
        self, config: DiffusionConfig, spec: LatentSpec, text_dim: int, window_frames: int
    ) -> None:
        super().__init__()
        self.config = config
        self.spec = spec
        self.window_frames = window_frames
        self.conditioner = Conditioner(config.conditioner, text_dim, config.dim)
        self.network = DiT(
            spec.channels, config.dim, config.depth, config.num_heads, config.patch_frames
        )

    def denoise(self, x: Tensor, sigma: Tensor, mask: Tensor | None, context: Context) -> Tensor:
        """Estimate clean latents (B, D, L) from noisy x (B, D, L) at levels sigma (B,)."""
        c_skip, c_out, c_in = preconditioning(sigma[:, None, None], self.config.sigma_data)
        raw = self.network(c_in * x, sigma.log() / 4, mask, context)  # c_noise, table 1
        denoised: Tensor = c_skip * x + c_out * raw.float()
        return denoised

    def forward(self, batch: Batch) -> LossOutput:
        """EDM's loss (eq. 8, with the weight of table 1) over the real frames of the batch."""
        config = self.config
        clean = batch.latents
        log_sigma = torch.randn(clean.shape[0], device=clean.device)
        sigma = (log_sigma * config.log_sigma_std + config.log_sigma_mean).exp()
        noisy = clean + sigma[:, None, None] * torch.randn_like(clean)
        denoised = self.denoise(noisy, sigma, batch.mask, self.conditioner(batch.conditions))
        weight = (sigma**2 + config.sigma_data**2) / (sigma * config.sigma_data) ** 2
        error = (denoised - clean).square().mean(dim=1) * batch.mask
        per_item = weight * error.sum(dim=1) / batch.mask.sum(dim=1).clamp_min(1)
        return LossOutput(loss=per_item.mean(), metrics=_by_level(per_item.detach(), sigma))

    @torch.no_grad()
    def sample(
        self,
        conditions: Conditions,
        num_frames: int,
        *,
        sampling: SamplingConfig,
        seeds: Sequence[int],
    ) -> Tensor:
        """Solve the probability-flow ODE from noise to latents (B, D, num_frames)."""
        config = self.config
        if len(seeds) != len(conditions):
            raise ValueError(f"sample: {len(conditions)} items but {len(seeds)} seeds")
        device = conditions.text.device
        sigmas = karras_sigmas(sampling.steps, config.sigma_min, config.sigma_max).to(device)
        noise = seeded_noise(seeds, (self.spec.channels, num_frames), device)
        solve = SOLVERS[sampling.solver]
        return solve(self._drift(conditions, sampling), sigmas[0] * noise, sigmas)

    def _drift(self, conditions: Conditions, sampling: SamplingConfig) -> Drift:
        """(x - D(x; sigma)) / sigma with guidance (Karras et al. 2022, eq. 3)."""
        scale = sampling.guidance_scale
        single = self.conditioner(conditions)
        other = self.conditioner(conditions.without_prompt())
        double = Context(
            sequence=torch.cat([single.sequence, other.sequence]),
            mask=torch.cat([single.mask, other.mask]),
            vector=torch.cat([single.vector, other.vector]),
        )
        low, high = (self._level(end) for end in sampling.guidance_interval)

        def drift(x: Tensor, sigma: Tensor) -> Tensor:
            def denoised(piece: Tensor) -> Tensor:
                if scale == 1 or not low <= float(sigma[0]) <= high:
                    return self.denoise(piece, sigma, None, single)
                pieces, sigmas = torch.cat([piece, piece]), torch.cat([sigma, sigma])
                with_prompt, without = self.denoise(pieces, sigmas, None, double).chunk(2)
                return guided(with_prompt, without, scale)

            return (x - over_windows(denoised, x, self.window_frames)) / sigma[:, None, None]

        return drift

    def _level(self, part: float) -> float:
        """Noise level at `part` of the way from data (0) to noise (1), on a logarithmic scale."""
        if part <= 0 or part >= 1:
            return 0.0 if part <= 0 else float("inf")
        config = self.config
        return float(config.sigma_min * (config.sigma_max / config.sigma_min) ** part)


def preconditioning(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor, Tensor]:
    """c_skip, c_out and c_in at `sigma` (Karras et al. 2022, table 1)."""
    total = sigma**2 + sigma_data**2
    return sigma_data**2 / total, sigma * sigma_data / total.sqrt(), 1 / total.sqrt()


def _by_level(losses: Tensor, sigma: Tensor) -> dict[str, Tensor]:
    """Mean loss of the items in each bucket of noise levels; empty buckets are left out."""
    found = {}
    for index, (low, high) in enumerate(itertools.pairwise(SIGMA_BUCKETS)):
        inside = (sigma >= low) & (sigma < high)
        if bool(inside.any()):
            found[f"loss_sigma_{index}"] = losses[inside].mean()
    return found
