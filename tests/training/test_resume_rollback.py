"""A training that went back to a checkpoint, stopped afterwards, ends as without the stop."""

from pathlib import Path

import pytest
from resuming import (
    Hook,
    crash_at,
    differing,
    history,
    interrupt,
    outcome,
    poisoned,
    signal_at,
    train,
)


def burst(step: int, rollbacks: int) -> bool:
    """Three losses that are not finite, in the first order of the data alone."""
    return step in {2, 3, 4} and rollbacks == 0


def when_it_comes_again(hook: Hook) -> Hook:
    """`hook` in the updates that the roll-back repeats alone."""
    seen: list[int] = []

    def wrapped(step: int) -> None:
        seen.append(step)
        if seen.count(step) == 2:
            hook(step)

    return wrapped


STOPS: dict[str, tuple[bool, Hook]] = {
    "right after it": (True, crash_at(2)),
    "before the next checkpoint": (True, crash_at(3)),
    "by a signal": (True, signal_at(2)),
    "after the next checkpoint": (False, crash_at(5)),
    "within the burst": (False, crash_at(4)),
}
"""Whether the update must have been done before, and what stops it then."""


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("family", ["vae", "rvq", "flow", "autoregressive"])
def test_a_stop_after_a_roll_back_changes_nothing(family: str, stop: str, tmp_path: Path) -> None:
    again, hook = STOPS[stop]
    with poisoned(burst):
        train(tmp_path / "whole", family)
        interrupt(tmp_path / "stopped", family, hook=when_it_comes_again(hook) if again else hook)
        train(tmp_path / "stopped", family)
    assert outcome(tmp_path / "whole")[1]["guard"]["rollbacks"] == 1
    unlike = set(differing(tmp_path / "stopped", tmp_path / "whole"))
    assert unlike <= {"metrics.jsonl"}  # it tells of the roll-back, and may tell of it twice
    steps = [row["step"] for row in history(tmp_path / "stopped") if "event" not in row]
    assert steps == [1, 2, 3, 4, 5, 6]
