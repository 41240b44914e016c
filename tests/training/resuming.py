"""Trains few_steps.py's models in this process, breaks in, and tells what came of it."""

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import few_steps
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from audiogen.training.checkpoint.folder import load_latest
from audiogen.training.distributed.signals import Stopped, stop_signals
from audiogen.training.loop import codec_loop, generator_loop
from audiogen.training.loop.divergence import Guard
from audiogen.training.loop.stage import Learner, StepResult

STEPS, SAVE_EVERY = 6, 2
CODECS = ("vae", "rvq", "mel")
GENERATORS = ("diffusion", "flow", "autoregressive", "masked")
FAMILIES = (*CODECS, *GENERATORS)

Hook = Callable[[int], object]
"""Called before update number `step` (0-based)."""


class CrashError(Exception):
    """Ends a training between two checkpoints, as a crash does."""


def crash_at(number: int) -> Hook:
    """Crash instead of the given update (0-based)."""

    def hook(step: int) -> None:
        if step == number:
            raise CrashError

    return hook


def signal_at(number: int) -> Hook:
    """Send SIGTERM during the given update (0-based): it is finished and saved."""

    def hook(step: int) -> None:
        if step == number:
            os.kill(os.getpid(), signal.SIGTERM)

    return hook


@contextlib.contextmanager
def before_updates(hook: Hook | None) -> Iterator[None]:
    """Have `hook` called before each update."""

    def hooked(learner: Learner, *given: Any) -> None:
        def update(step: int, batch: Any) -> StepResult:
            hook(step)
            return learner.update(step, batch)

        run_steps(replace(learner, update=update) if hook else learner, *given)

    with pytest.MonkeyPatch.context() as patch:
        for loop in (codec_loop, generator_loop):
            run_steps = loop.run_steps
            patch.setattr(loop, "run_steps", hooked)
        yield


def train(run: Path, family: str, *settings: str, hook: Hook | None = None) -> None:
    """Train from whatever is in `run`, as the command line would, in a state of its own."""
    given = ["train.log_every=1", f"train.checkpoint_every={SAVE_EVERY}"]
    for stage, size in (("codec", 2), ("generator", 4)):
        given += [f"train.{stage}.steps={STEPS}", f"train.{stage}.batch_size={size}"]
    config = few_steps.load(run, family, [*given, *settings])
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(torch.seed())  # nothing may hang on what ran before
    with stop_signals(), before_updates(hook):
        few_steps.train_model(family, config, Accelerator(cpu=True), "")


def interrupt(run: Path, family: str, *settings: str, hook: Hook) -> None:
    """Train until `hook` ends it, which it must."""
    with pytest.raises((CrashError, Stopped)):
        train(run, family, *settings, hook=hook)


def checkpoints(run: Path) -> list[int]:
    """Steps of the checkpoints that lie in a run, damaged or not."""
    return sorted(int(path.name[5:]) for path in run.glob("*/checkpoints/step-*"))


def outcome(run: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All that the last checkpoint holds: tensors by "group/name", and the rest."""
    (folder,) = run.glob("*/checkpoints")
    found = load_latest(folder)
    assert found is not None
    tensors = {
        f"{group}/{k}": v for group, named in found.tensors.items() for k, v in named.items()
    }
    return tensors, {"step": found.step, **found.state}


def differing(run: Path, other: Path) -> list[str]:
    """Names of the tensors and other parts that are not bit for bit the same in two runs."""
    (tensors, state), (others, other_state) = outcome(run), outcome(other)
    names = [
        name
        for name in sorted(tensors | others)
        if name not in tensors or name not in others or not torch.equal(tensors[name], others[name])
    ]
    names += [key for key in sorted(state | other_state) if state.get(key) != other_state.get(key)]
    return names + ["metrics.jsonl"] * (history(run) != history(other))


def history(run: Path) -> Sequence[dict[str, Any]]:
    """What metrics.jsonl says, but for the times."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    times = {"seconds", "audio_seconds_per_second"}
    return [{k: v for k, v in row.items() if k not in times} for row in rows]


@contextlib.contextmanager
def poisoned(is_bad: Callable[[int, int], bool]) -> Iterator[None]:
    """Give the guard a loss that is not a number, for the steps and roll-backs of `is_bad`."""
    original = Guard.judge
    steps: list[int] = []

    def judge(self: Guard, loss: Tensor, norm: float, *, phase: int = 0) -> str:
        bad = is_bad(steps[-1], self.rollbacks)
        return original(self, loss * float("nan") if bad else loss, norm, phase=phase)

    with pytest.MonkeyPatch.context() as patch, before_updates(steps.append):
        patch.setattr(Guard, "judge", judge)
        yield
