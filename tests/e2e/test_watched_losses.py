"""The losses on held-out and on known clips stand beside the training's own, step by step."""

import json
from pathlib import Path

import pytest

from audiogen.evaluation.report.training_section import read_curves
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.pipeline import Pipeline
from audiogen.training.stages import train
from audiogen.training.watching import WatchedLosses

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny"


def tiny(run: Path, recipe: str, *overrides: str) -> ExperimentConfig:
    steps = ["train.codec.steps=2", "train.generator.steps=40", "train.demo_every=20"]
    fast = ["train.generator.optim.lr=3e-3", "train.generator.ema_decay=0.5"]
    return load_config(TINY / f"{recipe}.yaml", [f"run_dir={run}", *steps, *fast, *overrides])


@pytest.mark.parametrize("recipe", ["diffusion", "autoregressive"])
def test_losses_of_both_sides_are_written_with_each_demo(recipe: str, tmp_path: Path) -> None:
    config = tiny(tmp_path / "run", recipe, "train.held_out_clips=6")
    train(config)
    text = config.run.metrics.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines() if "held_out_loss" in line]
    assert [line["step"] for line in lines] == [0, 20, 40]
    for name in ("held_out_loss", "known_loss"):
        assert lines[-1][name] < lines[0][name]  # it learns
    pipeline = Pipeline.from_pretrained(config.run_dir)
    again = [WatchedLosses(config, pipeline)() for _ in range(2)]
    assert again[0] == again[1]  # the same noise each time
    for name, loss in again[0].items():  # and the averaged weights, which the model has
        assert loss == pytest.approx(lines[-1][name], rel=1e-4)
    curves, broken = read_curves(text)
    assert broken == 0
    assert "held_out_loss" in str(curves)


def test_nothing_is_watched_unless_asked_for(tmp_path: Path) -> None:
    config = tiny(tmp_path / "run", "diffusion")
    assert config.train.held_out_clips == 0
    assert WatchedLosses(config, None)() == {}  # type: ignore[arg-type]
