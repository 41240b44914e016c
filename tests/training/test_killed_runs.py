"""Trainings killed by SIGKILL, and continued, end bit for bit like one that was never stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("killing.py")
NUM_POINTS = 9


def kill_runs(folder: Path, stage: str, runs: int) -> dict[str, int]:
    """Kill and continue `runs` trainings; return how many kills fell where."""
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(folder), stage, "--runs", str(runs)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    print(stage, found)  # noqa: T201
    assert found["files"] >= (6 if stage == "codec" else 4), "weights, averages, optimizers"
    assert found["differing"] == []
    kills: dict[str, int] = found["kills"]
    return kills


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param("codec", marks=pytest.mark.nightly),
        pytest.param("generator", marks=pytest.mark.slow),
    ],
)
def test_a_few_killed_runs_end_bit_equal(tmp_path: Path, stage: str) -> None:
    kills = kill_runs(tmp_path, stage, 2)
    assert sum(kills.values()) >= 2


@pytest.mark.nightly
@pytest.mark.parametrize("stage", ["codec", "generator"])
def test_a_hundred_killed_runs_end_bit_equal(tmp_path: Path, stage: str) -> None:
    kills = kill_runs(tmp_path, stage, 100)
    random = ("finished", "before the first step", "between steps", "inside a save")
    assert len(kills.keys() - set(random)) == NUM_POINTS
    assert kills.get("inside a save", 0) >= 1
    assert kills.get("before the first step", 0) < sum(kills.values()) / 2
