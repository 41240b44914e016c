"""Trains, kills the training with SIGKILL, and goes on, until it is done; then compares.

    python tests/training/killing.py FOLDER STAGE --runs 100

A program of the tests: the product knows nothing of it. It imports torch once and forks a child
for each start of the training, which saves the seconds of a fresh interpreter; a child has done
nothing before it trains, so that what it goes on from is on the disk alone. The text encoder is a
fake one, as in the other fast tests. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fake_text import FakeTextEncoder  # noqa: E402

import audiogen.pipeline  # noqa: E402
from audiogen import seal, storage  # noqa: E402
from audiogen.experiment import ExperimentConfig, load_config  # noqa: E402
from audiogen.storage import sha256_file  # noqa: E402
from audiogen.training import preparation, stages  # noqa: E402
from audiogen.training.checkpoint import folder as checkpoint  # noqa: E402
from audiogen.training.loop.tracking import Tracker  # noqa: E402

STEPS = 12
SAVE_EVERY = 2
MOST_KILLS = 3
"""Kills of one run."""
SETTINGS = (
    "data.textures.num_clips=34",
    f"train.checkpoint_every={SAVE_EVERY}",
    "train.log_every=1",
    f"train.codec.steps={STEPS}",
    f"train.generator.steps={STEPS}",
    "train.generator.batch_size=4",
    "train.codec.batch_size=2",
)


def kill(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, number: int = 1) -> None:
    """Die instead of the given call of `owner.name`."""
    original, calls = getattr(owner, name), []

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return kill() if len(calls) == number else original(*args, **kwargs)

    setattr(owner, name, wrapped)


def after(owner: Any, name: str, number: int = 1) -> None:
    """Die after the given call of `owner.name` that succeeds."""
    original, calls = getattr(owner, name), []

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        calls.append(1)
        return kill() if len(calls) == number else result

    setattr(owner, name, wrapped)


def inside_weights() -> None:
    def torn(tensors: Any, path: Any) -> None:
        Path(path).write_bytes(safetensors.torch.save(tensors)[:-20])
        kill()

    safetensors.torch.save_file = torn


def before_manifest() -> None:
    original = Path.write_text

    def wrapped(self: Path, *args: Any, **kwargs: Any) -> int:
        if self.name == seal.MANIFEST:
            kill()
        return original(self, *args, **kwargs)

    Path.write_text = wrapped  # type: ignore[method-assign]


def inside_prune() -> None:
    original = checkpoint.remove_folder

    def wrapped(folder: Path) -> None:
        after(os, "unlink")
        original(folder)

    checkpoint.remove_folder = wrapped


def inside_log() -> None:
    original = Tracker.log

    def torn(self: Tracker, step: int, metrics: Any) -> None:
        original(self, step, metrics)
        self._file._file.write('{"stage": "')
        self._file._file.flush()
        kill()

    Tracker.log = torn  # type: ignore[method-assign]


POINTS: dict[str, Callable[[], None]] = {
    "before the temporary folder": lambda: before(checkpoint, "publish_folder"),
    "inside the weights": inside_weights,
    "after the weights": lambda: after(checkpoint, "write_tensors"),
    "before the manifest": before_manifest,
    "before the rename": lambda: before(storage, "_exchange"),
    "after the rename": lambda: after(storage, "_exchange"),
    "before the check": lambda: before(checkpoint, "verify_folder", 2),
    "inside the pruning": inside_prune,
    "inside a log line": inside_log,
}


def start(config: ExperimentConfig, arm: Callable[[], None] | None = None) -> tuple[int, int]:
    """Fork a child that trains; return its pid and a pipe that gets one byte per step."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_end)
        return pid, read_end
    status = 1
    try:
        os.close(read_end)
        quiet = os.open(config.run_dir / "stderr.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(quiet, 2)
        original = Tracker.log

        def log(self: Tracker, step: int, metrics: Any) -> None:
            original(self, step, metrics)
            os.write(write_end, b".")

        Tracker.log = log  # type: ignore[method-assign]
        if arm:
            arm()
        stages.train(config)
        status = 0
    except Exception:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def ended(pid: int) -> int:
    """Wait for a child; return 0, or the signal that ended it; RuntimeError when it failed."""
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status)
    if os.WEXITSTATUS(status):
        raise RuntimeError("a continued run failed")
    return 0


def result(config: ExperimentConfig) -> dict[str, str]:
    """Digests of all that the last checkpoint and the model hold."""
    stage = config.run_dir / config.stages[-1]
    last = stage / "checkpoints" / f"step-{STEPS:08d}"
    files = [*last.glob("*.safetensors"), *(stage / "model").rglob("*.safetensors")]
    return {str(file.relative_to(stage)): sha256_file(file) for file in sorted(files)}


def kill_at_random(config: ExperimentConfig, chance: random.Random, pace: float) -> str:
    """Train until some step, and for a random part of the next; return what was killed."""
    pid, pipe = start(config)
    steps = chance.randint(0, STEPS // 2)
    seen = sum(len(os.read(pipe, 1)) for _ in range(steps))
    time.sleep(chance.uniform(0, 1.5 * pace))
    os.kill(pid, signal.SIGKILL)
    os.close(pipe)
    if not ended(pid):
        return "finished"
    saves = config.run_dir / config.stages[-1] / "checkpoints"
    torn = saves.is_dir() and any(".tmp-" in path.name for path in saves.iterdir())
    return "inside a save" if torn else "between steps" if seen else "before the first step"


def kill_at_point(config: ExperimentConfig, point: str) -> str:
    """Train until the named point, which must come."""
    pid, pipe = start(config, POINTS[point])
    signal_number = ended(pid)
    os.close(pipe)
    if signal_number != signal.SIGKILL:
        raise RuntimeError(f"the run never came to: {point}")
    return point


def finish(config: ExperimentConfig) -> dict[str, str]:
    """Train to the end without a kill; return what came of it."""
    pid, pipe = start(config)
    while os.read(pipe, 1):
        pass
    os.close(pipe)
    if ended(pid):
        raise RuntimeError("a run that nobody killed was killed")
    return result(config)


def prepared(folder: Path, stage: str) -> ExperimentConfig:
    """Make the sounds of a run and all stages before `stage`; return its configuration."""
    only = ["generator=null"] if stage == "codec" else []
    recipe = ROOT / "recipes" / "tiny" / "diffusion.yaml"
    config = load_config(recipe, [*SETTINGS, *only, f"run_dir={folder / 'base'}"])
    pid = os.fork()  # this process itself never computes
    if pid == 0:
        status = 1
        try:
            preparation.prepare(config)
            if stage != "codec":
                stages.train(config.model_copy(update={"generator": None}))
            status = 0
        finally:
            os._exit(status)
    ended(pid)
    return config


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("stage", choices=["codec", "generator"])
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    audiogen.pipeline.TextEncoder = FakeTextEncoder  # type: ignore[misc, assignment]
    preparation.TextEncoder = FakeTextEncoder  # type: ignore[misc, assignment]
    base = prepared(given.folder, given.stage)

    def copy(name: str) -> ExperimentConfig:
        run = Path(shutil.copytree(base.run_dir, given.folder / name))
        return base.model_copy(update={"run_dir": run})

    began = time.monotonic()
    expected = finish(copy("whole"))
    pace = (time.monotonic() - began) / STEPS
    chance = random.Random(given.seed)  # noqa: S311
    kills: dict[str, int] = {}
    differing = []
    for number in range(given.runs):
        config = copy(f"run-{number:04d}")
        for turn in range(chance.randint(1, MOST_KILLS)):
            if turn == 0 and number < 2 * len(POINTS):
                where = kill_at_point(config, list(POINTS)[number % len(POINTS)])
            else:
                where = kill_at_random(config, chance, pace)
            kills[where] = kills.get(where, 0) + 1
        if finish(config) != expected:
            differing.append(config.run_dir.name)
        shutil.rmtree(config.run_dir)
    print(json.dumps({"files": len(expected), "kills": kills, "differing": differing}))  # noqa: T201


if __name__ == "__main__":
    main()
