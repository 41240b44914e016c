"""The solvers against a Gaussian, whose probability-flow ODE has a closed form."""

import functools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from audiogen.generators.solvers import (
    Drift,
    Solver,
    dpmpp_2m,
    euler,
    heun,
    midpoint,
    pingpong,
    rk4,
    shifted,
)

MEAN, STD = 0.7, 0.5


def one_minus(t: Tensor) -> Tensor:
    return 1 - t


ALPHAS: dict[str, Callable[[Tensor], Tensor]] = {"diffusion": torch.ones_like, "flow": one_minus}


def gaussian_drift(family: str) -> Drift:
    """(x - D(x; t)) / t for data N(MEAN, STD^2), whose best denoiser is linear."""

    def drift(x: Tensor, t: Tensor) -> Tensor:
        wide = t[:, None, None]
        alpha = ALPHAS[family](wide)
        gain = alpha * STD**2 / (alpha**2 * STD**2 + wide**2)
        return (x - MEAN - gain * (x - alpha * MEAN)) / wide

    return drift


def exact(x: Tensor, family: str, first: float, last: float = 0.0) -> Tensor:
    """Where the ODE takes x from time `first` to `last`: a Gaussian only moves and shrinks."""
    begin, end = (
        float(ALPHAS[family](torch.tensor(t, dtype=torch.float64))) for t in (first, last)
    )
    shrink = math.hypot(end * STD, last) / math.hypot(begin * STD, first)
    return end * MEAN + (x - begin * MEAN) * shrink


def solver(name: str, family: str) -> Solver:
    plain = {"euler": euler, "midpoint": midpoint, "heun": heun, "rk4": rk4}
    if name == "dpmpp_2m":
        return functools.partial(dpmpp_2m, alpha=ALPHAS[family])
    return plain[name]


def grid(family: str, steps: int, last: float = 0.0) -> Tensor:
    if family == "flow":
        return torch.linspace(1, last, steps + 1)
    sigmas = torch.linspace(20 ** (1 / 7), max(last, 0.005) ** (1 / 7), steps) ** 7
    return torch.cat([sigmas, torch.zeros(1)]) if last == 0 else sigmas


NAMES = ["euler", "midpoint", "heun", "rk4", "dpmpp_2m"]
ORDERS = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4, "dpmpp_2m": 2}


@pytest.mark.parametrize("family", ALPHAS)
@pytest.mark.parametrize("name", NAMES)
def test_solver_reaches_the_mean_and_variance_of_a_gaussian(name: str, family: str) -> None:
    times = grid(family, 400 if name == "euler" else 60)
    first = float(times[0])
    begin = float(ALPHAS[family](times[0]))
    start = begin * MEAN + math.hypot(begin * STD, first) * torch.randn(4000, 1, 1)
    end = solver(name, family)(gaussian_drift(family), start, times)
    torch.testing.assert_close(end, exact(start, family, first), atol=0.03, rtol=0)
    assert float(end.mean()) == pytest.approx(MEAN, abs=0.03)
    assert float(end.std()) == pytest.approx(STD, abs=0.03)


@pytest.mark.parametrize("family", ALPHAS)
@pytest.mark.parametrize("name", NAMES)
def test_error_falls_with_the_order_of_the_solver(name: str, family: str) -> None:
    start = torch.linspace(-2, 2, 41).double()[:, None, None]

    def error(steps: int) -> float:
        # Stops before 0, where the last step is exact for the Gaussian and would hide the order.
        times = grid(family, steps, last=0.2).double()
        first, last = float(times[0]), float(times[-1])
        end = solver(name, family)(gaussian_drift(family), first * start, times)
        return float((end - exact(first * start, family, first, last)).abs().max())

    assert error(65) < error(33) / (0.75 * 2 ** ORDERS[name])


@pytest.mark.parametrize("family", ALPHAS)
@pytest.mark.parametrize("steps", [1, 2, 4, 16])
def test_pingpong_samples_the_gaussian_with_a_model_of_the_end(family: str, steps: int) -> None:
    """A consistency model gives the end of the ODE's path, whatever the time; here exactly."""

    def drift(x: Tensor, t: Tensor) -> Tensor:
        return (x - exact(x, family, float(t[0]))) / t[:, None, None]

    random = torch.Generator().manual_seed(3)
    times = torch.linspace(1, 0, steps + 1) * (1 if family == "flow" else 20)
    begin = float(ALPHAS[family](times[0]))
    start = begin * MEAN + math.hypot(begin * STD, float(times[0])) * torch.randn(4000, 1, 1)
    end = pingpong(
        drift,
        start,
        times,
        alpha=ALPHAS[family],
        noise=lambda: torch.randn(4000, 1, 1, generator=random),
    )
    assert float(end.mean()) == pytest.approx(MEAN, abs=0.03)
    assert float(end.std()) == pytest.approx(STD, abs=0.03)
    if steps > 1:  # and has forgotten where it began
        assert abs(float(torch.corrcoef(torch.stack([start, end]).flatten(1))[0, 1])) < 0.7


@pytest.mark.parametrize("family", ALPHAS)
@pytest.mark.parametrize("name", NAMES)
def test_a_schedule_per_item_equals_each_item_alone(name: str, family: str) -> None:
    start = torch.randn(2, 3, 5)
    short, long = grid(family, 8), shifted(torch.linspace(1, 0, 9), 2.0)
    if family == "diffusion":
        long = torch.cat([torch.linspace(10, 0.02, 8), torch.zeros(1)])
    solve, drift = solver(name, family), gaussian_drift(family)
    both = solve(drift, start, torch.stack([short, long], dim=1))
    torch.testing.assert_close(both[:1], solve(drift, start[:1], short))
    torch.testing.assert_close(both[1:], solve(drift, start[1:], long))


def test_a_shift_moves_times_towards_noise_and_back() -> None:
    times = torch.linspace(1, 0, 9)
    later = shifted(times, 3.0)
    assert bool((later >= times).all())
    assert later[0] == 1
    assert later[-1] == 0
    torch.testing.assert_close(shifted(later, 1 / 3.0), times)


def test_shifted_times_begin_at_exactly_one_for_every_length() -> None:
    """Above one the logarithm of a flow's clean share is not a number."""
    for base in (0.3, 1.0, 1.5, 3.0):
        shifts = base * (torch.arange(1, 3000) / 108).sqrt()
        times = shifted(torch.linspace(1, 0, 9)[:, None], shifts)
        assert bool((times[0] == 1).all())
        assert bool((times[-1] == 0).all())
        assert bool((times.diff(dim=0) < 0).all())
