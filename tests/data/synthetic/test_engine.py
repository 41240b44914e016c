import numpy as np
import pytest

from audiogen.data.synthetic.canvas import Canvas
from audiogen.data.synthetic.engine import FIRING, course, decaying, firings, impulses


def canvas(seed: int = 0, rate: int = 16000) -> Canvas:
    return Canvas(5 * rate, rate, 1, np.random.default_rng(seed))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_courses_vary_and_keep_within_bounds(rate: float) -> None:
    spreads = []
    for seed in range(24):
        run = course(canvas(seed), rate)
        assert run.speed.shape == run.load.shape == (80000,)
        assert run.speed.min() > 0.3
        assert run.speed.max() < 3.0
        assert run.load.min() >= 0.05
        assert run.load.max() <= 1.0
        spreads.append(run.speed.std())
    assert min(spreads) < 0.05
    assert max(spreads) > 0.06


def test_each_cylinder_fires_once_in_a_cycle() -> None:
    place = canvas()
    turns = 10.0 * place.time()
    for cylinders, ways in FIRING.items():
        for way in ways:
            assert len(way) == cylinders
            times, forces = firings(place, turns, np.array(way))
            assert abs(len(times) - 50 * cylinders) <= cylinders
            assert len(forces) == len(times)


def test_impulses_keep_their_height_between_samples() -> None:
    place = canvas()
    out = impulses(place, np.array([1.00001, 2.0]), np.array([1.0, 0.5]))
    assert out.sum() == pytest.approx(1.5)
    assert np.count_nonzero(out) <= 4


@pytest.mark.parametrize("rate", [16000, 44100])
def test_decay_is_in_seconds(rate: int) -> None:
    place = canvas(rate=rate)
    out = decaying(place, impulses(place, np.array([1.0]), np.array([1.0])), 0.01)
    assert out[round(1.01 * rate)] == pytest.approx(np.exp(-1), rel=0.02)
