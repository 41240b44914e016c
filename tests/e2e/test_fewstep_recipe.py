"""A flow, and a few-step model taught from its paths."""

import json
from pathlib import Path

import pytest
import torch

from audiogen.evaluation.evaluate import evaluate
from audiogen.evaluation.scores import read_scores
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.pipeline import Pipeline
from audiogen.storage import read_tensors
from audiogen.training.loop.tracking import Tracker
from audiogen.training.stages import train

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "tiny" / "flow-fewstep.yaml"


def tiny(run: Path, *overrides: str) -> ExperimentConfig:
    return load_config(RECIPE, [f"run_dir={run}", *overrides])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """A run of all three stages and its evaluation."""
    config = tiny(tmp_path_factory.mktemp("runs") / "fewstep")
    train(config)
    evaluate(config)
    return config


def weights(run: Path, stage: str) -> dict[str, torch.Tensor]:
    return read_tensors(run / stage / "model" / "generator.safetensors")


def test_the_last_stage_is_what_is_sampled_and_evaluated(finished: ExperimentConfig) -> None:
    run = finished.run_dir
    pipeline = Pipeline.from_pretrained(run)
    assert pipeline.config.sample.solver == "pingpong"
    few, many = weights(run, "distil"), weights(run, "generator")
    assert few.keys() == many.keys()
    assert any(not torch.equal(few[name], many[name]) for name in few)
    scores = read_scores(finished.run.scores)
    assert scores.takes is not None
    assert scores.takes.network_evaluations == 2
    assert scores.likelihood is None  # it is no denoiser any more
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["stage"] for line in lines} == {"codec", "generator", "distil"}


def test_a_take_of_a_stochastic_sampler_has_its_seed(finished: ExperimentConfig) -> None:
    pipeline = Pipeline.from_pretrained(finished.run_dir)
    together = pipeline(["rain", "wind", ""], seconds=1.0, seeds=[3, 4, 5])
    alone = pipeline(["wind"], seconds=1.0, seeds=[4])
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_the_last_stage_is_added_to_a_finished_flow(
    finished: ExperimentConfig, tmp_path: Path
) -> None:
    run = tmp_path / "flow"
    train(tiny(run, "name=flow", "distil=null", "sample={steps: 4}"))
    manifest = run / "generator" / "model" / "MANIFEST.json"
    before = manifest.stat()
    train(tiny(run))
    after = manifest.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    expected = weights(finished.run_dir, "distil")
    found = weights(run, "distil")
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_a_crash_in_the_last_stage_changes_nothing(
    finished: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(tmp_path / "run")

    def crash(tracker: Tracker, step: int, metrics: object) -> None:
        if tracker.stage == "distil" and step == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Tracker, "log", crash)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    train(config)
    expected = weights(finished.run_dir, "distil")
    found = weights(config.run_dir, "distil")
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
