"""Solvers of dx/dt = drift(x, t) from the first of `times` to the last, as pure functions.

One file serves diffusion, whose time is sigma, and flow, whose time runs from 1 to 0. Times are
(S + 1,) for the whole batch, or (S + 1, B) for a schedule per item.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Drift = Callable[[Tensor, Tensor], Tensor]
"""(x (B, D, L), t (B,)) -> dx/dt (B, D, L)."""
Solver = Callable[[Drift, Tensor, Tensor], Tensor]


def _per_item(times: Tensor, x: Tensor) -> Tensor:
    """Times as (S + 1, B)."""
    return times if times.dim() == 2 else times[:, None].expand(-1, x.shape[0])


def _wide(values: Tensor) -> Tensor:
    """(B,) as (B, 1, 1)."""
    return values[:, None, None]


def euler(drift: Drift, x: Tensor, times: Tensor) -> Tensor:
    """First order: one evaluation per step."""
    grid = _per_item(times, x)
    for t, t_next in itertools.pairwise(grid):
        x = x + _wide(t_next - t) * drift(x, t)
    return x


def heun(drift: Drift, x: Tensor, times: Tensor) -> Tensor:
    """Second order, two evaluations per step but one into t = 0 (Karras et al. 2022, alg. 1)."""
    grid = _per_item(times, x)
    for t, t_next in itertools.pairwise(grid):
        slope = drift(x, t)
        guess = x + _wide(t_next - t) * slope
        if bool((t_next > 0).all()):
            slope = (slope + drift(guess, t_next)) / 2
            guess = x + _wide(t_next - t) * slope
        x = guess
    return x


def dpmpp_2m(drift: Drift, x: Tensor, times: Tensor) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, alg. 2): second order, one evaluation per step.

    Valid where time is sigma, that is where drift = (x - denoised) / t. The multistep term is left
    out of the last step into sigma = 0, whose logarithm has no end.
    """
    grid = _per_item(times, x)
    previous, width_before = None, None
    for t, t_next in itertools.pairwise(grid):
        denoised = x - _wide(t) * drift(x, t)
        if bool((t_next <= 0).any()):
            ratio = _wide(t_next / t)
            x = ratio * x + (1 - ratio) * denoised
            continue
        width = (t / t_next).log()
        mixed = denoised
        if previous is not None and width_before is not None:
            r = _wide(width / width_before / 2)
            mixed = (1 + r) * denoised - r * previous
        ratio = _wide(t_next / t)
        x = ratio * x + (1 - ratio) * mixed
        previous, width_before = denoised, width
    return x


SOLVERS: Mapping[str, Solver] = {"euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}


def karras_sigmas(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Falling noise levels (steps + 1,), the last one zero (Karras et al. 2022, eq. 5)."""
    if steps == 1:
        return torch.tensor([sigma_max, 0.0])
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    sigmas = (high + ramp * (low - high)) ** rho
    return torch.cat([sigmas, sigmas.new_zeros(1)]).float()
