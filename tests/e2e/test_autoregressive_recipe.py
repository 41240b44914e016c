"""The recipe of the token family at its smallest: train, evaluate, take, report, scoreboard."""

import json
import math
from collections import Counter
from pathlib import Path

import pytest
from sampled import sampled

from audiogen.audio.io.files import read_audio
from audiogen.data.loading.mixtures import plan_mixtures
from audiogen.data.manifest import read_split
from audiogen.evaluation.evaluate import evaluate
from audiogen.evaluation.scoreboard import scoreboard
from audiogen.evaluation.scores import read_scores
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.pipeline import Pipeline
from audiogen.takes.editing import extend, inpaint, vary
from audiogen.takes.sources import EditRequest
from audiogen.training.stages import train

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "tiny" / "autoregressive.yaml"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """The tiny recipe, trained."""
    config = load_config(RECIPE, [f"run_dir={tmp_path_factory.mktemp('run') / 'tokens'}"])
    train(config)
    return config


def test_it_is_evaluated_and_stands_on_the_scoreboard(finished: ExperimentConfig) -> None:
    report = evaluate(finished)
    scores = read_scores(finished.run.scores)
    found = scores.likelihood
    assert found is not None
    assert found.structureless == pytest.approx(16000 / 512 * 4 * math.log2(32))
    # Hardly trained: every token costs about as much as in a uniform guess.
    assert found.held_out.mean == pytest.approx(found.structureless, rel=0.2)
    assert found.held_out_with.keys() == {"bf16", "int8"}
    assert len(found.held_out.perplexity) == 4
    assert all(1 < value < 64 for value in found.train.perplexity)
    assert [one.count for one in scores.codec.codebooks] == [1, 2, 3, 4]
    assert all(0 < one.used <= 1 <= one.perplexity <= 32 for one in scores.codec.codebooks)
    assert scores.codec.bits_per_second == pytest.approx(found.structureless)
    assert scores.takes is not None
    assert scores.takes.network_evaluations == 32 + 3  # frames and the delay of the last
    page = report.read_text("utf-8")
    assert "bits per second" in page
    assert "Codebooks" in page
    assert "autoregressive on rvq" in scoreboard([finished.run_dir])


def test_each_sound_is_learnt_in_the_versions_of_the_recipe(finished: ExperimentConfig) -> None:
    [index] = (finished.run_dir / "latents").rglob("index.json")
    encoded = Counter(entry["path"] for entry in json.loads(index.read_text("utf-8")))
    rows = read_split(finished.run.manifest, "train")
    versions = {row.path: 3 for row in rows}
    mixed = {one.row.path: 1 for one in plan_mixtures(rows, seed=finished.seed)}
    assert encoded == versions | mixed


def test_takes_have_the_length_asked_for_or_their_own(
    finished: ExperimentConfig, tmp_path: Path
) -> None:
    pipeline = Pipeline.from_pretrained(finished.run_dir)
    assert pipeline(["rain"], seconds=1.37, seeds=[3]).shape == (1, 1, round(1.37 * 16000))
    for path in sampled(finished.run_dir, tmp_path, seconds=1.5, count=3, to_end=True):
        wav, rate = read_audio(path)
        note = json.loads(path.with_suffix(".json").read_text("utf-8"))
        assert 0 < wav.shape[1] <= 1.5 * rate
        assert (note["samples"], note["seconds"], note["to_end"]) == (wav.shape[1], 1.5, True)


def test_a_sound_is_continued_and_what_cannot_be_is_refused(
    finished: ExperimentConfig, tmp_path: Path
) -> None:
    [take] = sampled(finished.run_dir, tmp_path)
    before, rate = read_audio(take)
    edit = EditRequest(out=tmp_path / "edits", seed=5)
    longer, _ = read_audio(extend(finished.run_dir, take, edit, seconds=1.6))
    assert longer.shape[1] == round(1.6 * rate)
    assert (longer[:, : before.shape[1]] == before).all()
    with pytest.raises(ValueError, match="keeps the beginning of a sound and nothing else"):
        inpaint(finished.run_dir, take, edit, regions=["0.3:0.6"])
    with pytest.raises(ValueError, match="noise"):
        vary(finished.run_dir, take, edit, amount=0.5)
    with pytest.raises(ValueError, match="no ring"):
        sampled(finished.run_dir, tmp_path, loop=True)


def test_the_masked_model_of_the_same_tokens_inpaints_and_loops(
    finished: ExperimentConfig, tmp_path: Path
) -> None:
    size = ("generator.type=masked", "generator.dim=32", "generator.depth=2")
    run = finished.run_dir.parent / "masked"  # beside it, so that the codec is taken from there
    config = load_config(RECIPE, [f"run_dir={run}", *size, "generator.num_heads=2"])
    train(config)
    [take] = sampled(run, tmp_path)
    before, rate = read_audio(take)
    edit = EditRequest(out=tmp_path / "edits", seed=5)
    after, _ = read_audio(inpaint(run, take, edit, regions=["0.3:0.6"]))
    start, stop = round(0.3 * rate), round(0.6 * rate)
    assert (after[:, :start] == before[:, :start]).all()
    assert (after[:, stop:] == before[:, stop:]).all()
    assert not (after[:, start:stop] == before[:, start:stop]).all()
    [loop] = sampled(run, tmp_path, seconds=0.7, loop=True)
    assert read_audio(loop)[0].shape[1] == round(0.7 * rate)
    with pytest.raises(ValueError, match="is told how long a sound is"):
        sampled(run, tmp_path, to_end=True)
