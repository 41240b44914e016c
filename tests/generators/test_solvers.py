"""The solvers against a Gaussian, whose probability-flow ODE has a closed form."""

import pytest
import torch
from torch import Tensor

from audiogen.generators.solvers import SOLVERS, dpmpp_2m, euler, heun, karras_sigmas

MEAN, STD = 0.7, 0.5


def gaussian_drift(x: Tensor, sigma: Tensor) -> Tensor:
    """(x - D(x; sigma)) / sigma for data N(MEAN, STD^2), whose denoiser is linear."""
    wide = sigma[:, None, None]
    denoised = (STD**2 * x + wide**2 * MEAN) / (STD**2 + wide**2)
    return (x - denoised) / wide


def exact(x: Tensor, sigma: float) -> Tensor:
    """Where the ODE takes x from sigma to 0: it only shrinks the spread."""
    return MEAN + (x - MEAN) * STD / (STD**2 + sigma**2) ** 0.5


CASES = [("euler", 200, 0.02), ("heun", 40, 5e-3), ("dpmpp_2m", 40, 5e-3)]


@pytest.mark.parametrize(("name", "steps", "tolerance"), CASES)
def test_solver_reaches_the_mean_and_variance_of_a_gaussian(
    name: str, steps: int, tolerance: float
) -> None:
    sigmas = karras_sigmas(steps, 0.005, 20.0)
    start = MEAN + 20.0 * torch.randn(4000, 1, 1)
    end = SOLVERS[name](gaussian_drift, start, sigmas)
    torch.testing.assert_close(end, exact(start, 20.0), atol=3 * tolerance, rtol=0)
    assert float(end.mean()) == pytest.approx(MEAN, abs=0.03)
    assert float(end.std()) == pytest.approx(STD, abs=0.03)


@pytest.mark.parametrize(("solver", "order"), [(euler, 1), (heun, 2), (dpmpp_2m, 2)])
def test_error_falls_with_the_order_of_the_solver(solver: object, order: int) -> None:
    start = torch.linspace(-20, 20, 41)[:, None, None]

    def error(steps: int) -> float:
        # Stops at 0.1: the last step into zero is exact for the Gaussian and would hide the order.
        times = karras_sigmas(steps, 0.1, 20.0)[:-1].double()
        end = solver(gaussian_drift, start.double(), times)  # type: ignore[operator]
        shrink = ((STD**2 + 0.01) / (STD**2 + 400)) ** 0.5
        return float((end - (MEAN + (start - MEAN) * shrink)).abs().max())

    assert error(65) < error(33) / (0.8 * 2**order)


def test_a_schedule_per_item_equals_each_item_alone() -> None:
    start = torch.randn(2, 3, 5)
    short, long = karras_sigmas(8, 0.01, 5.0), karras_sigmas(8, 0.02, 20.0)
    for solver in SOLVERS.values():
        both = solver(gaussian_drift, start, torch.stack([short, long], dim=1))
        torch.testing.assert_close(both[:1], solver(gaussian_drift, start[:1], short))
        torch.testing.assert_close(both[1:], solver(gaussian_drift, start[1:], long))


def test_sigmas_fall_from_the_largest_to_zero() -> None:
    sigmas = karras_sigmas(10, 0.01, 60.0)
    assert sigmas.shape == (11,)
    assert bool((sigmas.diff() < 0).all())
    assert float(sigmas[0]) == pytest.approx(60.0)
    assert float(sigmas[-2]) == pytest.approx(0.01, rel=1e-4)
    assert float(sigmas[-1]) == 0
