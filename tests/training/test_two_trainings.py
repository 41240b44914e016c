"""Two commands at once on one run, as two terminals give them: one works, the other is told so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audiogen.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "tiny" / "mel.yaml"


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "audiogen", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_the_second_is_refused_and_the_first_ends_as_if_it_were_alone(tmp_path: Path) -> None:
    def train(folder: str, *more: str) -> list[str]:
        own = [f"run_dir={tmp_path / folder}", "data.textures.num_clips=12"]
        return ["train", str(RECIPE), *own, "train.codec.steps=100", *more]

    run = RunFolder(tmp_path / "run")
    first = start(*train("run"))
    deadline = time.monotonic() + 120
    while not run.metrics.is_file() and first.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGSTOP)  # in the middle of its work, however slow the others are
    commands = [
        train("run", "seed=5"),
        ["prepare", *train("run", "data.textures.num_clips=15", "train.allow_change=true")[1:]],
        ["evaluate", str(run.path)],
    ]
    others = [start(*words) for words in commands]
    for other in others:
        said = other.communicate(timeout=120)[1]
        assert (other.returncode, "Traceback" in said) == (1, False), said
        assert f"process {first.pid} is at work here" in said
        assert len(said.splitlines()) <= 4
    os.kill(first.pid, signal.SIGCONT)
    assert first.wait(300) == 0
    assert start(*train("alone")).wait(300) == 0
    alone = RunFolder(tmp_path / "alone")
    for name in ("config", "manifest"):
        one, other = getattr(run, name), getattr(alone, name)
        assert one.read_text().replace(str(run.path), str(alone.path)) == other.read_text()
    weights = [next(folder.model("codec").glob("*.safetensors")) for folder in (run, alone)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
