"""What diffusion and flow share: a DiT that denoises, and an ODE from noise to latents."""

from __future__ import annotations

import functools
import itertools
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from audiogen.conditioning.conditioner import Conditioner
from audiogen.generators import solvers
from audiogen.generators.base import LatentGenerator, NetworkConfig, Start, noise_source
from audiogen.generators.guidance import Guidance
from audiogen.generators.ode.infill import InfillConfig, draw_kept_frames
from audiogen.generators.ode.scene import Scene
from audiogen.generators.sampling import ODESamplingConfig, SamplingConfig
from audiogen.generators.windows import batches_of, over_windows
from audiogen.nn.chance import randn
from audiogen.nn.dit import DiT
from audiogen.types import (
    FRESH_NOISE,
    Batch,
    Conditions,
    Kind,
    LatentSpec,
    LossOutput,
    PathPoint,
)

TOKEN_RATE_HZ = 11.0
"""Tokens of the Transformer per second, about, unless the frames per token are given."""
PLAIN_SOLVERS: Mapping[str, solvers.Solver] = {
    "euler": solvers.euler,
    "midpoint": solvers.midpoint,
    "heun": solvers.heun,
    "rk4": solvers.rk4,
}


class ODEConfig(NetworkConfig):
    """The network and the conditioning of diffusion and flow."""

    patch_frames: int | None = Field(default=None, gt=0)
    """Latent frames per token of the Transformer; null is as many as give about eleven tokens per
    second, so that the Transformer costs the same on every codec."""
    infill: InfillConfig = InfillConfig()

    def frames_per_token(self, spec: LatentSpec) -> int:
        """Latent frames of `spec` that make one token."""
        return self.patch_frames or max(1, round(spec.frame_rate / TOKEN_RATE_HZ))


class ODEGenerator(LatentGenerator):
    """A generator that solves dx/dt = (x - D(x; t)) / t from noise at the first time to t = 0.

    Subclasses say how clean latents and noise mix (`alpha`), what D is (`denoise`), which times
    training draws and how it weighs them (`draw_times`, `weight`), and which times sampling visits
    (`times`).
    """

    accepts: ClassVar[Kind] = "continuous"
    sampling = ODESamplingConfig
    has_paths = True
    level_borders: ClassVar[tuple[float, ...]]
    """Times between which the losses of items are logged together, from data to noise."""

    def __init__(
        self, config: ODEConfig, spec: LatentSpec, text_dim: int, window_frames: int
    ) -> None:
        super().__init__()
        self.spec = spec
        self.window_frames = window_frames
        self.infill = config.infill
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
    def draw_times(self, num_frames: Tensor) -> Tensor:
        """Random times (B,) of a training batch, for items of `num_frames` (B,)."""

    @abstractmethod
    def weight(self, t: Tensor) -> Tensor:
        """Weight (B,) of the squared error of `denoise` at times t (B,)."""

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

    def draw_noise(self, clean: Tensor, mask: Tensor) -> Tensor:
        """Standard normal noise for latents (B, D, L) with real frames `mask` (B, L)."""
        del mask
        return randn(clean.shape, clean.device)

    def forward(self, batch: Batch) -> LossOutput:
        """Weighted squared error of `denoise` over the frames that are real and not given."""
        point = batch.point or self._draw_point(batch)
        scene = Scene(
            context=self.conditioner(batch.conditions),
            mask=batch.mask,
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
        keep = draw_kept_frames(self.infill, batch.mask)
        return PathPoint(noisy=noisy, t=t, known=batch.latents, keep=keep)

    @torch.no_grad()
    def sample(
        self,
        conditions: Conditions,
        num_frames: int | Sequence[int],
        *,
        sampling: SamplingConfig,
        seeds: Sequence[int],
        negative: Conditions | None = None,
        start: Start | None = None,
        ring: bool = False,
    ) -> Tensor:
        """Solve the ODE from noise to latents (B, D, L); see `LatentGenerator.sample`."""
        count = len(conditions)
        lengths = [num_frames] * count if isinstance(num_frames, int) else list(num_frames)
        self._check(count, lengths, seeds, start)
        sampling = _of_ode(sampling)
        if negative is not None and sampling.guidance_scale == 1:
            raise ValueError(
                "sample: a negative prompt acts through guidance, which is off (guidance_scale=1)"
            )
        start = start or Start()
        out = torch.zeros(count, self.spec.channels, max(lengths), device=conditions.text.device)
        for items in batches_of(lengths, self.window_frames, ring=ring):
            run = _Run(
                generator=self,
                conditions=conditions[items],
                negative=None if negative is None else negative[items],
                lengths=[lengths[index] for index in items],
                seeds=[seeds[index] for index in items],
                sampling=sampling,
                start=start.of(items, max(lengths[index] for index in items)),
                ring=ring,
            )
            latents = run.latents()
            out[items, :, : latents.shape[-1]] = latents
        return out

    def network_evaluations(self, sampling: SamplingConfig, num_frames: int) -> int:
        """Evaluations of the network for one take; they do not depend on its length."""
        del num_frames
        return _of_ode(sampling).network_evaluations

    @torch.no_grad()
    def trace(
        self,
        conditions: Conditions,
        num_frames: int,
        *,
        sampling: SamplingConfig,
        seeds: Sequence[int],
        start: Start | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sample as `sample` does, and return the way as well.

        Returns:
            The points (P, B, D, L) and times (P, B) at which the network was asked, the noisiest
            first, and the latents (B, D, L) that the way ends in.
        """
        points: list[Tensor] = []
        times: list[Tensor] = []

        def record(x: Tensor, t: Tensor) -> None:
            points.append(x)
            times.append(t)

        self._check(len(conditions), [num_frames] * len(seeds), seeds, start)
        run = _Run(
            generator=self,
            conditions=conditions,
            negative=None,
            lengths=[num_frames] * len(seeds),
            seeds=seeds,
            sampling=_of_ode(sampling),
            start=start or Start(),
            ring=False,
            record=record,
        )
        end = run.latents()
        return torch.stack(points), torch.stack(times), end

    def _check(
        self, count: int, lengths: Sequence[int], seeds: Sequence[int], start: Start | None
    ) -> None:
        if len(seeds) != count or len(lengths) != count:
            raise ValueError(
                f"sample: {count} items but {len(seeds)} seeds and {len(lengths)} lengths"
            )
        if min(lengths) < 1:
            raise ValueError(f"sample: num_frames must be at least 1, got {min(lengths)}")
        if start is not None and start.keep is not None and not self.infill.is_on:
            raise ValueError("sample: this model was trained without infill; it keeps no frames")


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One sampling run, over items that share a batch."""

    generator: ODEGenerator
    conditions: Conditions
    negative: Conditions | None
    lengths: Sequence[int]
    seeds: Sequence[int]
    sampling: ODESamplingConfig
    start: Start
    ring: bool
    record: Callable[[Tensor, Tensor], None] | None = None

    def latents(self) -> Tensor:
        """Sampled latents (B, D, L), zero behind the end of an item."""
        generator, start, sampling = self.generator, self.start, self.sampling
        device = self.conditions.text.device
        real = self._real(device)
        if start.level == 0 and start.latents is not None:
            return start.latents * real[:, None]
        noise = self._noise(0, device)() if start.noise is None else start.noise.to(device)
        steps = max(1, round(sampling.steps * start.level))
        lengths = torch.tensor(self.lengths, device=device)
        times = generator.times(steps, lengths, start.level).to(device)
        first = times[0].expand(len(noise))[:, None, None]
        x = first * noise
        if start.latents is not None and start.level < 1:
            x = x + generator.alpha(first) * start.latents
        solve = self._solver(device)
        return solve(self._drift(real), x, times) * real[:, None]

    def _real(self, device: torch.device) -> Tensor:
        lengths = torch.tensor(self.lengths, device=device)
        return torch.arange(max(self.lengths), device=device)[None] < lengths[:, None]

    def _noise(self, stream: int, device: torch.device) -> Callable[[], Tensor]:
        """A source of noise (B, D, L) on `device`, apart from those of other streams."""
        seeds = [seed + stream for seed in self.seeds]
        draw = noise_source(seeds, self.generator.spec.channels, self.lengths)
        return lambda: draw().to(device)

    def _solver(self, device: torch.device) -> solvers.Solver:
        alpha = self.generator.alpha
        match self.sampling.solver:
            case "dpmpp_2m":
                return functools.partial(solvers.dpmpp_2m, alpha=alpha)
            case "pingpong":
                noise = self._noise(FRESH_NOISE, device)
                return functools.partial(solvers.pingpong, alpha=alpha, noise=noise)
        return PLAIN_SOLVERS[self.sampling.solver]

    def _drift(self, real: Tensor) -> solvers.Drift:
        """(x - D(x; t)) / t (Karras et al. 2022, eq. 3), with guidance and given frames."""
        generator, sampling = self.generator, self.sampling
        mask = real if len(set(self.lengths)) > 1 else None
        in_windows = max(self.lengths) > generator.window_frames  # which hold no padding
        known, keep = self.start.latents, self.start.keep
        single = Scene(
            context=generator.conditioner(self.conditions),
            mask=None if in_windows else mask,
            known=known if keep is not None else None,
            keep=keep,
        )
        double = single
        if sampling.guidance_scale != 1:
            opposite = self.negative or self.conditions.without_prompt()
            double = single.beside(generator.conditioner(opposite))
        guidance = Guidance(sampling, mask)
        low, high = (generator.time_at(part) for part in sampling.guidance_interval)
        turns = torch.Generator().manual_seed(0)  # the same turns of the ring for every take

        def over(x: Tensor, t: Tensor, scene: Scene, turn: float | None) -> Tensor:
            def denoised(piece: Tensor, items: Tensor, frames: Tensor) -> Tensor:
                return generator.denoise(piece, t[items], scene.at(items, frames))

            lengths = [*self.lengths] * (len(x) // len(self.lengths))
            offsets = None if turn is None else [int(turn * length) for length in lengths]
            window = generator.window_frames
            return over_windows(denoised, x, window, lengths=lengths, ring_offsets=offsets)

        def drift(x: Tensor, t: Tensor) -> Tensor:
            if self.record is not None:
                self.record(x, t)
            turn = float(torch.rand((), generator=turns)) if self.ring else None
            active = (t >= low) & (t <= high) & (sampling.guidance_scale != 1)
            if bool(active.any()):
                both = over(torch.cat([x, x]), torch.cat([t, t]), double, turn)
                with_prompt, without = both.chunk(2)
                denoised = guidance(with_prompt, without, active)
            else:
                denoised = over(x, t, single, turn)
            if keep is not None and known is not None:
                denoised = torch.where(keep[:, None], known, denoised)
            return (x - denoised) / t[:, None, None]

        return drift


def _of_ode(sampling: SamplingConfig) -> ODESamplingConfig:
    """Return `sampling`; ValueError when it is that of another family."""
    if not isinstance(sampling, ODESamplingConfig):
        raise ValueError(f"sample: expected sampling of type ode, got {type(sampling).__name__}")
    return sampling


def _by_level(losses: Tensor, t: Tensor, borders: Sequence[float]) -> dict[str, Tensor]:
    """Mean loss of the items between neighbouring times; empty ranges are left out."""
    found = {}
    for index, (low, high) in enumerate(itertools.pairwise(borders)):
        inside = (t >= low) & (t < high)
        if bool(inside.any()):
            found[f"loss_level_{index}"] = losses[inside].mean()
    return found
