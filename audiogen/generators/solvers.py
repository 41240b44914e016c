"""Solvers of dx/dt = drift(x, t) from the first of `times` to the last, as pure functions.

One file serves diffusion, whose time is sigma, and flow, whose time runs from 1 to 0. In both

    x_t = alpha(t) clean + t noise    and    drift(x, t) = (x - denoised) / t

with alpha(t) = 1 for diffusion and 1 - t for flow. Times are (S + 1,) for the whole batch, or
(S + 1, B) for a schedule per item.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Drift = Callable[[Tensor, Tensor], Tensor]
"""(x (B, D, L), t (B,)) -> dx/dt (B, D, L)."""
Solver = Callable[[Drift, Tensor, Tensor], Tensor]
Alpha = Callable[[Tensor], Tensor]
"""Share of the clean latents in x at times t (B,): (B,)."""


def euler(drift: Drift, x: Tensor, times: Tensor) -> Tensor:
    """First order: one evaluation per step."""
    for t, t_next in _steps(times, x):
        x = x + _wide(t_next - t) * drift(x, t)
    return x


def midpoint(drift: Drift, x: Tensor, times: Tensor) -> Tensor:
    """Second order, two evaluations per step, none of them at the step's end."""
    for t, t_next in _steps(times, x):
        half = (t_next - t) / 2
        x = x + _wide(t_next - t) * drift(x + _wide(half) * drift(x, t), t + half)
    return x


def heun(drift: Drift, x: Tensor, times: Tensor) -> Tensor:
    """Second order, two evaluations per step but one into t = 0 (Karras et al. 2022, alg. 1)."""
    for t, t_next in _steps(times, x):
        slope = drift(x, t)
        guess = x + _wide(t_next - t) * slope
        if bool((t_next > 0).all()):
            slope = (slope + drift(guess, t_next)) / 2
            guess = x + _wide(t_next - t) * slope
        x = guess
    return x


def rk4(drift: Drift, x: Tensor, times: Tensor) -> Tensor:
    """Fourth order, four evaluations per step; the step into t = 0 is a midpoint step."""
    for t, t_next in _steps(times, x):
        if not bool((t_next > 0).all()):
            x = midpoint(drift, x, torch.stack([t, t_next]))
            continue
        width = t_next - t
        first = drift(x, t)
        second = drift(x + _wide(width / 2) * first, t + width / 2)
        third = drift(x + _wide(width / 2) * second, t + width / 2)
        fourth = drift(x + _wide(width) * third, t_next)
        x = x + _wide(width / 6) * (first + 2 * second + 2 * third + fourth)
    return x


def dpmpp_2m(drift: Drift, x: Tensor, times: Tensor, *, alpha: Alpha = torch.ones_like) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, alg. 2): second order, one evaluation per step.

    Its steps are even in the half log signal-to-noise ratio ln(alpha / t). The multistep term is
    left out of the first step, and of a last one into t = 0, whose logarithm has no end.
    """
    previous, width_before = None, None
    for t, t_next in _steps(times, x):
        denoised = x - _wide(t) * drift(x, t)
        mixed = denoised
        if bool((t_next > 0).all()):
            width = (alpha(t_next) / t_next).log() - (alpha(t) / t).log()
            if previous is not None and width_before is not None:
                # From pure noise the width is infinite, and its share of the correction is none.
                r = _wide(width / width_before / 2)
                mixed = (1 + r) * denoised - r * previous
            previous, width_before = denoised, width
        ratio = _wide(t_next / t)
        x = ratio * x + (_wide(alpha(t_next)) - ratio * _wide(alpha(t))) * mixed
    return x


def pingpong(
    drift: Drift, x: Tensor, times: Tensor, *, noise: Callable[[], Tensor], alpha: Alpha
) -> Tensor:
    """Denoise to the end, add fresh noise of the next level, and so on: stochastic, few steps.

    The sampler of consistency models (Song et al. 2023, alg. 1) and of adversarially trained
    few-step models (Novack et al. 2025, ARC, arXiv 2505.08175).

    Args:
        drift: as of the ODE.
        x: (B, D, L) at the first time.
        times: falling to 0.
        noise: gives standard normal noise like x, anew at each call.
        alpha: share of the clean latents.
    """
    for t, t_next in _steps(times, x):
        denoised = x - _wide(t) * drift(x, t)
        if not bool((t_next > 0).any()):
            return denoised
        x = _wide(alpha(t_next)) * denoised + _wide(t_next) * noise()
    return x


def shifted(times: Tensor, shift: Tensor | float) -> Tensor:
    """Move levels of noise in [0, 1] towards noise: shift t / (1 + (shift - 1) t).

    With more frames the same noise hides less, so that longer sounds need more of the steps at
    high noise (Esser et al. 2024, arXiv 2403.03206, eq. 23).
    """
    # Written so that 1 stays exactly 1: above it the clean share of a flow would be negative.
    moved = shift * times
    return moved / (moved + (1 - times))


def _steps(times: Tensor, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Neighbouring times, each (B,)."""
    grid = times if times.dim() == 2 else times[:, None].expand(-1, x.shape[0])
    yield from itertools.pairwise(grid)


def _wide(values: Tensor) -> Tensor:
    """(B,) as (B, 1, 1)."""
    return values[:, None, None]
