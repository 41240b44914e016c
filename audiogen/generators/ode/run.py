"""One sampling run: the ODE dx/dt = (x - D(x; t)) / t, solved from noise to latents."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from audiogen.generators import solvers
from audiogen.generators.guidance import Guidance
from audiogen.generators.ode.denoiser import Denoiser
from audiogen.generators.ode.scene import Scene
from audiogen.generators.request import Request, of_kind
from audiogen.generators.sampling import ODESamplingConfig
from audiogen.generators.windows import over_windows
from audiogen.seeds import Stream, noise_source

PLAIN_SOLVERS: Mapping[str, solvers.Solver] = {
    "euler": solvers.euler,
    "midpoint": solvers.midpoint,
    "heun": solvers.heun,
    "rk4": solvers.rk4,
}


@dataclass(frozen=True)
class Run:
    """A run over items that share a batch.

    Attributes:
        generator: in evaluation mode.
        request: of items that `in_batches` puts together.
        record: is called with the point (B, D, L) and the time (B,) of each evaluation.
    """

    generator: Denoiser
    request: Request
    record: Callable[[Tensor, Tensor], None] = lambda x, t: None

    @property
    def sampling(self) -> ODESamplingConfig:
        """Settings of the request."""
        return of_kind(ODESamplingConfig, self.request.sampling)

    def latents(self) -> Tensor:
        """Sampled latents (B, D, L), zero behind the end of an item."""
        generator, request, start = self.generator, self.request, self.request.start
        real = request.real[:, None]
        if start.level == 0 and start.latents is not None:
            return start.latents * real
        noise = self._noise("start")() if start.noise is None else start.noise.to(request.device)
        steps = max(1, round(self.sampling.steps * start.level))
        lengths = torch.tensor(request.lengths, device=request.device)
        times = generator.times(steps, lengths, start.level).to(request.device)
        first = times[0].expand(len(noise))[:, None, None]
        x = first * noise
        if start.latents is not None and start.level < 1:
            x = x + generator.alpha(first) * start.latents
        return self._solver()(self._drift(), x, times) * real

    def _noise(self, stream: Stream) -> Callable[[], Tensor]:
        """A source of noise (B, D, L)."""
        request, channels = self.request, self.generator.spec.channels
        draw = noise_source(stream, request.seeds, channels, request.lengths)
        return lambda: draw().to(request.device)

    def _solver(self) -> solvers.Solver:
        alpha = self.generator.alpha
        match self.sampling.solver:
            case "dpmpp_2m":
                return functools.partial(solvers.dpmpp_2m, alpha=alpha)
            case "pingpong":
                noise = self._noise("solver")
                return functools.partial(solvers.pingpong, alpha=alpha, noise=noise)
        return PLAIN_SOLVERS[self.sampling.solver]

    def _drift(self) -> solvers.Drift:
        """(x - D(x; t)) / t (Karras et al. 2022, eq. 3), with guidance and given frames."""
        generator, request, sampling = self.generator, self.request, self.sampling
        known, keep = request.start.latents, request.start.keep
        mask = request.real if len(set(request.lengths)) > 1 else None
        in_windows = max(request.lengths) > generator.window_frames  # which hold no padding
        single = Scene(
            context=generator.conditioner(request.conditions),
            mask=None if in_windows else mask,
            known=known if keep is not None else None,
            keep=keep,
        )
        double = single if sampling.guidance_scale == 1 else self._beside_the_worse(single)
        guidance = Guidance(sampling, mask)
        # Beyond all times at the very end, where rounding must not cut the first one off.
        low, high = (
            float(generator.time_at(torch.tensor(level))) if level < 1 else math.inf
            for level in sampling.guidance_interval
        )
        turns = torch.Generator().manual_seed(0)  # the same turns of the ring for every take

        def drift(x: Tensor, t: Tensor) -> Tensor:
            self.record(x, t)
            turn = float(torch.rand((), generator=turns)) if request.ring else None
            active = (t >= low) & (t <= high) & (sampling.guidance_scale != 1)
            if bool(active.any()):
                both = self._denoised(torch.cat([x, x]), torch.cat([t, t]), double, turn)
                conditional, worse = both.chunk(2)
                denoised = guidance(conditional, worse, active)
            else:
                denoised = self._denoised(x, t, single, turn)
            if keep is not None and known is not None:
                denoised = torch.where(keep[:, None], known, denoised)
            return (x - denoised) / t[:, None, None]

        return drift

    def _beside_the_worse(self, scene: Scene) -> Scene:
        """The scene, and in its second half what guidance leads away from."""
        generator, request = self.generator, self.request
        opposite = request.negative or request.conditions.without_prompt()
        depth = len(generator.network.blocks)
        count = round(self.sampling.guidance_skips * depth)
        first = (depth - count) // 2
        skipped = [first <= index < first + count for index in range(depth)]
        left_out = torch.tensor(skipped, device=request.device) if count else None
        return scene.beside(generator.conditioner(opposite), left_out)

    def _denoised(self, x: Tensor, t: Tensor, scene: Scene, turn: float | None) -> Tensor:
        """D(x; t) over windows, which begin at the part `turn` of a ring."""

        def denoise(piece: Tensor, items: Tensor, frames: Tensor) -> Tensor:
            return self.generator.denoise(piece, t[items], scene.at(items, frames))

        lengths = [*self.request.lengths] * (len(x) // len(self.request.lengths))
        return over_windows(denoise, x, self.generator.window_frames, lengths=lengths, turn=turn)
