"""The adaptive solver against closed forms, and against torchdiffeq where it is installed."""

import math

import pytest
import torch
from torch import Tensor

from audiogen.generators.ode.adaptive import Parts, dopri5

MEAN, STD = 0.7, 0.5
TOLERANCES = [1e-3, 1e-6, 1e-9]


def decay(x: Tensor, t: float) -> Tensor:
    """Each item falls with a rate of its own, which changes in time."""
    rates = torch.arange(1, len(x) + 1, dtype=x.dtype)[:, None]
    return -rates * x * (1 + t)


def turning(x: Tensor, t: float) -> Tensor:
    """A rotation of (B, 2) by one radian per unit of time."""
    return torch.stack([-x[:, 1], x[:, 0]], dim=1)


def gaussian_drift(x: Tensor, sigma: float) -> Tensor:
    """The probability-flow ODE of data N(MEAN, STD^2)."""
    return (x - (STD**2 * x + sigma**2 * MEAN) / (STD**2 + sigma**2)) / sigma


@pytest.mark.parametrize("tolerance", TOLERANCES)
def test_it_meets_closed_forms_within_the_tolerance(tolerance: float) -> None:
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()
    rates = torch.arange(1, 5)[:, None]
    wanted = [
        (decay, x * torch.exp(-rates * 4.0), (0.0, 2.0)),
        (turning, turned(x, 5.0), (0.0, 5.0)),
        (turning, turned(x, -5.0), (5.0, 0.0)),
        (gaussian_drift, MEAN + (x - MEAN) * spread(0.01) / spread(20.0), (20.0, 0.01)),
        (gaussian_drift, MEAN + (x - MEAN) * spread(20.0) / spread(0.01), (0.01, 20.0)),
    ]
    for drift, end, (start, stop) in wanted:
        found = dopri5(drift, x, start, stop, rtol=tolerance, atol=tolerance)
        size = 1 + float(end.abs().max())
        # Errors of the steps add up, hence the factor.
        torch.testing.assert_close(found, end, rtol=0, atol=30 * tolerance * size)


def turned(x: Tensor, angle: float) -> Tensor:
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], dim=1)


def spread(sigma: float) -> float:
    return (STD**2 + sigma**2) ** 0.5


def test_a_tighter_tolerance_costs_more_evaluations_of_fifth_order() -> None:
    counts = []
    for tolerance in (1e-4, 1e-9):
        calls = []

        def drift(x: Tensor, t: float, calls: list[float] = calls) -> Tensor:
            calls.append(t)
            return turning(x, t)

        dopri5(drift, torch.ones(1, 2).double(), 0.0, 20.0, rtol=tolerance, atol=tolerance)
        counts.append(len(calls))
        assert 0 <= min(calls) <= max(calls) <= 20.0 + 1e-9
    # Fifth order: 10^5 times less error takes about 10 times as many steps.
    assert 5 < counts[1] / counts[0] < 15


def test_a_state_of_several_tensors_moves_as_one() -> None:
    start = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0)).double()

    def drift(state: Parts, t: float) -> Parts:
        x, total = state
        return gaussian_drift(x, t), x.sum(dim=(1, 2)) * 0 + 2 * t + 0 * total

    x, total = dopri5(drift, (start, torch.zeros(3).double()), 20.0, 0.01, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(total, torch.full_like(total, 0.01**2 - 400))
    alone = dopri5(gaussian_drift, start, 20.0, 0.01, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(x, alone, rtol=1e-5, atol=1e-5)


def test_an_item_alone_equals_the_item_in_a_batch() -> None:
    # The first item needs far smaller steps than the second; its error must not be averaged away.
    x = torch.tensor([[100.0], [0.1]]).double()

    def drift(x: Tensor, t: float) -> Tensor:
        return x.sin() * x.abs().clamp_min(1).log().exp() ** 0.5

    both = dopri5(drift, x, 0.0, 3.0, rtol=1e-8, atol=1e-8)
    for item in range(2):
        alone = dopri5(drift, x[item : item + 1], 0.0, 3.0, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(both[item : item + 1], alone, rtol=1e-5, atol=1e-5)


def test_the_worst_item_sets_the_step() -> None:
    x = torch.zeros(1000, 1).double()
    x[0] = 1.0  # a norm over the whole batch would let the error of this one grow 30 times
    end = dopri5(lambda x, t: 3 * x, x, 0.0, 2.0, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(float(end[0]), math.exp(6.0), rtol=3e-5, atol=0)


def test_no_way_to_go_changes_nothing() -> None:
    x = torch.randn(2, 3)
    assert dopri5(turning, x, 1.0, 1.0, rtol=1e-3, atol=1e-3) is x
    still = dopri5(lambda x, t: torch.zeros_like(x), x, 0.0, 1.0, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(still, x)


def test_what_cannot_be_solved_is_said() -> None:
    x = torch.ones(1, 1)
    with pytest.raises(ValueError, match="drift at t=0 is not finite"):
        dopri5(lambda x, t: x * math.nan, x, 0.0, 1.0, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match=r"no step at t=0\.[0-9]+ meets rtol=0\.001"):
        dopri5(lambda x, t: x * (math.nan if t > 0.5 else 1), x, 0.0, 1.0, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="no step at t="):  # x = 1 / (1 - t)
        dopri5(lambda x, t: x**2, x.double(), 0.0, 2.0, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="rtol and atol must be above 0"):
        dopri5(turning, x, 0.0, 1.0, rtol=0.0, atol=1e-3)


@pytest.mark.parametrize("tolerance", TOLERANCES)
@pytest.mark.parametrize("interval", [(20.0, 0.01), (0.01, 20.0)])
def test_it_agrees_with_torchdiffeq(tolerance: float, interval: tuple[float, float]) -> None:
    torchdiffeq = pytest.importorskip("torchdiffeq")
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 6, generator=random).double()
    x = torch.randn(3, 6, generator=random).double()
    calls: list[int] = [0, 0]

    def drift(x: Tensor, t: float, who: int) -> Tensor:
        calls[who] += 1
        return gaussian_drift(x, float(t)) + (x @ weight).sin() / (1 + t)

    def reference(method: str, tolerance: float, who: int) -> Tensor:
        times = torch.tensor(interval).double()
        path: Tensor = torchdiffeq.odeint(
            lambda t, x: drift(x, t, who), x, times, method=method, rtol=tolerance, atol=tolerance
        )
        return path[-1]

    ours = dopri5(lambda x, t: drift(x, t, 0), x, *interval, rtol=tolerance, atol=tolerance)
    theirs = reference("dopri5", tolerance, 1)
    assert calls[0] < 2 * calls[1]  # a norm per item asks for more than theirs over all
    exact = reference("dopri8", 1e-12, 1)
    size = 1 + float(exact.abs().max())
    assert float((ours - exact).abs().max()) < 100 * tolerance * size
    assert float((theirs - exact).abs().max()) < 100 * tolerance * size
