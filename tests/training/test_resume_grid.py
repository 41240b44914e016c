"""Stopped anywhere and begun again, every family ends bit for bit as if it had never stopped."""

from collections.abc import Callable
from pathlib import Path

import pytest
from resuming import FAMILIES, Hook, checkpoints, crash_at, differing, interrupt, signal_at, train

STOPS: dict[str, tuple[Hook, list[int]]] = {
    "before the first checkpoint": (crash_at(1), []),
    "by a signal in the first step": (signal_at(0), [1]),
    "between two checkpoints": (crash_at(3), [2]),
    "by a signal between two checkpoints": (signal_at(2), [2, 3]),
    "right after a checkpoint": (crash_at(4), [2, 4]),
    "by a signal at a checkpoint": (signal_at(3), [2, 4]),
    "before the last step": (crash_at(5), [2, 4]),
    "by a signal before the last step": (signal_at(4), [4, 5]),
}
"""What stops a training of 6 steps, and the checkpoints that are then there."""

Whole = Callable[..., Path]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Gives the run of a family that nothing stopped; each is made once."""
    runs: dict[tuple[str, ...], Path] = {}

    def of(*words: str) -> Path:
        if words not in runs:
            runs[words] = tmp_path_factory.mktemp("whole")
            train(runs[words], *words)
        return runs[words]

    return of


# Signals after each step are in the test below for every run; here one by one.
CELLS = [
    pytest.param(stop, marks=pytest.mark.nightly if "signal" in stop else ()) for stop in STOPS
]


@pytest.mark.parametrize("stop", CELLS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_stopped_training_ends_like_a_whole_one(
    whole: Whole, tmp_path: Path, family: str, stop: str
) -> None:
    hook, saved = STOPS[stop]
    interrupt(tmp_path, family, hook=hook)
    assert checkpoints(tmp_path) == saved
    train(tmp_path, family)
    assert differing(tmp_path, whole(family)) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_stopped_after_every_step(whole: Whole, tmp_path: Path, family: str) -> None:
    for step in range(5):
        interrupt(tmp_path, family, hook=signal_at(step))
        assert checkpoints(tmp_path)[-1] == step + 1
    train(tmp_path, family)
    assert differing(tmp_path, whole(family)) == []


@pytest.mark.parametrize(
    ("family", "setting"),
    [
        ("vae", "data.num_workers=2"),
        ("masked", "data.num_workers=2"),
        ("flow", "train.generator.accumulate=2"),
        # 40 items in batches of 16: the second and third pass begin inside a batch.
        ("autoregressive", "train.generator.batch_size=16"),
    ],
)
@pytest.mark.parametrize("stop", ["between two checkpoints", "by a signal between two checkpoints"])
def test_loading_in_other_ways_does_not_matter(
    whole: Whole, tmp_path: Path, family: str, setting: str, stop: str
) -> None:
    interrupt(tmp_path, family, setting, hook=STOPS[stop][0])
    train(tmp_path, family, setting)
    assert differing(tmp_path, whole(family, setting)) == []


def test_a_run_may_go_on_with_another_number_of_workers(whole: Whole, tmp_path: Path) -> None:
    interrupt(tmp_path, "diffusion", hook=crash_at(3))
    train(tmp_path, "diffusion", "data.num_workers=2")
    assert differing(tmp_path, whole("diffusion")) == []


def test_another_seed_is_seen_by_the_comparison(whole: Whole, tmp_path: Path) -> None:
    train(tmp_path, "flow", "seed=5")
    assert {"ema", "generator", "generator_optimizer", "guard", "metrics.jsonl"} == {
        name.split("/")[0] for name in differing(tmp_path, whole("flow"))
    }
