"""What an update tells is what happened, and what metrics.jsonl says of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from resuming import STEPS, history, poisoned, train

from audiogen.training.loop import codec_loop, generator_loop
from audiogen.training.loop.stage import Learner, StepResult

Seen = list[tuple[StepResult, bool]]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """The result of every update, and whether it moved the first module's parameters."""
    results: Seen = []
    run_steps = generator_loop.run_steps

    def watched(learner: Learner, *given: Any) -> None:
        def update(step: int, batch: Any) -> StepResult:
            parameters = list(next(iter(learner.modules.values())).parameters())
            before = [value.detach().clone() for value in parameters]
            result = learner.update(step, batch)
            moved = not all(map(torch.equal, before, parameters))
            results.append((result, moved))
            return result

        run_steps(replace(learner, update=update), *given)

    for loop in (codec_loop, generator_loop):
        monkeypatch.setattr(loop, "run_steps", watched)
    return results


@pytest.mark.parametrize("family", ["vae", "flow"])
def test_every_result_is_a_line_of_the_metrics(family: str, seen: Seen, tmp_path: Path) -> None:
    train(tmp_path, family, "train.generator.accumulate=2", "train.codec.adversarial_start=0.5")
    lines = history(tmp_path)
    assert len(lines) == STEPS
    for line, (result, _) in zip(lines, seen, strict=True):
        told = {name: value for name, value in line.items() if name not in {"stage", "step"}}
        assert told == pytest.approx(result.metrics)
    assert all(moved and not result.left_out for result, moved in seen)
    assert all(result.grad_norm > 0 and result.lr > 0 for result, _ in seen)
    rival = ["discriminator" in result.losses for result, _ in seen]
    assert rival == ([False] * 3 + [True] * 3 if family == "vae" else [False] * STEPS)


def test_a_step_that_is_left_out_says_why_and_moves_nothing(seen: Seen, tmp_path: Path) -> None:
    diverges = pytest.raises(ValueError, match="before its first checkpoint")
    with diverges, poisoned(lambda step, rollbacks: True):
        train(tmp_path, "flow")
    assert [result.left_out for result, _ in seen] == ["the loss is nan"] * 3
    assert not any(moved for _, moved in seen)
    events = [row["event"] for row in history(tmp_path) if "event" in row]
    assert events == ["left out"] * 3
