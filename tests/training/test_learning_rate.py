"""The learning rate is a pure function with known values."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from audiogen.train_config import OptimConfig, Schedule
from audiogen.training.loop.optim import lr_at

SCHEDULES: tuple[Schedule, ...] = ("constant", "cosine", "linear", "wsd")


def rate(step: int, schedule: Schedule, total: int = 101, warmup: int = 0) -> float:
    """Return twice the rate of a configuration whose peak is 1."""
    config = OptimConfig(lr=1.0, warmup_steps=warmup, schedule=schedule, final_ratio=0.1)
    return 2 * lr_at(config, step, total_steps=total)


def test_warm_up_is_linear_and_reaches_the_peak() -> None:
    rates = [rate(step, "cosine", warmup=4) for step in range(5)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[4] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("constant", 100, 2.0),
        ("cosine", 50, 1.1),
        ("cosine", 25, 0.2 + 1.8 * (0.5 + 0.5 * 2**-0.5)),
        ("linear", 50, 1.1),
        ("linear", 75, 0.65),
        ("wsd", 80, 2.0),
        ("wsd", 86, 0.2 + 1.8 * (1 - (5.2 / 19.2) ** 0.5)),
    ],
)
def test_known_values(schedule: Schedule, step: int, expected: float) -> None:
    assert rate(step, schedule) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd"])
def test_decay_ends_in_the_final_ratio_and_stays(schedule: Schedule) -> None:
    assert rate(100, schedule) == pytest.approx(0.2)
    assert rate(5000, schedule) == pytest.approx(0.2)


@given(st.sampled_from(SCHEDULES), st.integers(1, 300), st.integers(0, 400), st.integers(0, 100))
def test_rises_then_never_rises(schedule: Schedule, total: int, warmup: int, extra: int) -> None:
    rates = [rate(step, schedule, total, warmup) for step in range(total + extra)]
    assert all(0 < value <= 2.0 for value in rates)
    rising, falling = rates[:warmup], rates[warmup:]
    assert all(a < b for a, b in itertools.pairwise(rising))
    assert all(a >= b for a, b in itertools.pairwise(falling))


def test_config_applies_its_own_numbers() -> None:
    config = OptimConfig(lr=0.5, warmup_steps=10, schedule="linear", final_ratio=0)
    assert lr_at(config, 4, total_steps=100) == pytest.approx(0.25)
    assert lr_at(config, 99, total_steps=100) == pytest.approx(0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": 0},
        {"lr": float("nan")},
        {"betas": (0.9, 1.0)},
        {"betas": (0.99, 0.9)},
        {"warmup_steps": -1},
        {"schedule": "cosin"},
        {"final_ratio": 2},
        {"max_grad_norm": 0},
    ],
)
def test_config_refuses_nonsense(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        OptimConfig.model_validate(wrong)
