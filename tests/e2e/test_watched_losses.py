"""The losses on held-out and on known clips stand beside the training's own, step by step."""

import json
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from audiogen.codecs import build_codec
from audiogen.data.loading.clips import read_clips
from audiogen.data.manifest import read_split
from audiogen.evaluation.report.training_section import read_curves
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.pipeline import Pipeline
from audiogen.schema import ConfigError
from audiogen.training.preparation import prepare
from audiogen.training.stages import train
from audiogen.training.watching import BestWeights, WatchedCopies, WatchedLosses

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


def test_the_model_is_that_of_the_lowest_held_out_loss(tmp_path: Path) -> None:
    """A learning rate that rises without end first helps, and then breaks what was learnt."""
    breaking = ["train.generator.optim.lr=1", "train.generator.optim.warmup_steps=100"]
    watched = ["train.held_out_clips=6", "train.keep_best=true", "train.demo_every=10"]
    config = tiny(tmp_path / "run", "diffusion", *watched, *breaking, "train.spike_factor=1e9")
    train(config)
    lines = [json.loads(line) for line in config.run.metrics.read_text("utf-8").splitlines()]
    losses = {line["step"]: line["held_out_loss"] for line in lines if "held_out_loss" in line}
    lowest = min(losses.values())
    assert lowest < losses[40]
    model = WatchedLosses(config, Pipeline.from_pretrained(config.run_dir))()
    assert model["held_out_loss"] == pytest.approx(lowest, rel=1e-4)
    with pytest.raises(ValueError, match="kept"):  # another choice is another model
        train(tiny(tmp_path / "run", "diffusion", *breaking))


def test_weights_are_kept_while_they_are_the_best(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module, best = torch.nn.Linear(1, 1), BestWeights(tmp_path / "best")
    with caplog.at_level("WARNING", "audiogen"):
        best.give_to(module)  # there are none yet
    assert "nothing is held out" in caplog.text
    for step, (loss, weight) in enumerate([(3.0, 0.3), (2.0, 0.2), (2.0, 0.5), (4.0, 0.4)]):
        torch.nn.init.constant_(module.weight, weight)
        BestWeights(tmp_path / "best").offer(
            step, {"held_out_loss": loss}, module
        )  # also after a new start
    best.offer(9, {"known_loss": 0.0}, module)  # which says nothing
    best.give_to(module)
    assert module.weight.item() == pytest.approx(0.2)


def test_weights_that_make_copies_are_not_kept(tmp_path: Path) -> None:
    module, best = torch.nn.Linear(1, 1), BestWeights(tmp_path / "best")
    for step, (loss, copies) in enumerate([(3.0, 0.1), (2.0, 0.2), (2.5, 0.0), (1.0, 1.0)]):
        torch.nn.init.constant_(module.weight, loss)
        best.offer(step, {"held_out_loss": loss, "copies": copies}, module)
    best.give_to(module)
    assert module.weight.item() == 2.5


def test_the_share_of_takes_that_are_copies_is_found(tmp_path: Path) -> None:
    config = tiny(tmp_path / "run", "diffusion", "train.copy_check_takes=4")
    prepare(config)
    with torch.device("meta"):
        spec = build_codec(config.codec).spec
    rows = read_split(config.run.manifest, "train")
    learnt = read_clips(config.sounds, rows[:4], spec, config.evaluate.seconds)
    noise = 0.1 * torch.randn(4, *learnt[0].shape, generator=torch.Generator().manual_seed(0))
    for made, share in ((torch.stack(learnt), 1.0), (noise, 0.0)):
        pipeline = Mock(return_value=made)
        pipeline.codec.spec = spec
        assert WatchedCopies(config, pipeline)() == {"copies": share}
    labels, given = pipeline.call_args.args[0], pipeline.call_args.kwargs
    assert set(labels) <= {row.label for row in rows}
    assert (len(labels), list(given["seeds"])) == (4, [0, 1, 2, 3])


def test_the_best_needs_held_out_clips() -> None:
    with pytest.raises(ConfigError, match=r"train.held_out_clips=16"):
        load_config(TINY / "diffusion.yaml", ["train.keep_best=true"])


def test_nothing_is_watched_unless_asked_for(tmp_path: Path) -> None:
    config = tiny(tmp_path / "run", "diffusion")
    assert config.train.held_out_clips == 0
    assert WatchedLosses(config, None)() == {}  # type: ignore[arg-type]
    assert WatchedCopies(config, None)() == {}  # type: ignore[arg-type]
