"""A trained model learns a flat folder of sounds under a word of its own, and keeps its others."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from audiogen.cli.main import app
from audiogen.data.manifest import read_split
from audiogen.experiment import load_config
from audiogen.pipeline import Pipeline
from audiogen.training.stages import train
from audiogen.tune import tune_config

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny"
RATE = 22050


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "first"
    steps = ["train.codec.steps=2", "train.generator.steps=3", "sample.steps=3"]
    train(load_config(TINY / "diffusion.yaml", [f"run_dir={run}", "data.clip_seconds=2", *steps]))
    return run


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder whose files have no words in their names."""
    folder = tmp_path / "Glass Harp"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(8):
        noise = 0.1 * random.standard_normal(3 * RATE)
        soundfile.write(folder / f"{number:04d}.wav", noise, RATE)
    return folder


def test_a_tuned_model_knows_its_word_and_those_of_the_model(
    model: Path, sounds: Path, tmp_path: Path
) -> None:
    few = ["train.generator.steps=4", "train.demo_every=2", "train.held_out_clips=2"]
    given = ["data.i_own_these=true", f"run_dir={tmp_path / 'run'}", *few]
    config = tune_config(sounds, model, given)
    assert config.data.label == "glass harp"
    assert config.data.clip_seconds == 2
    assert config.sample == Pipeline.from_pretrained(model).config.sample
    assert config.train.generator.steps == 4  # what is given comes last
    found = CliRunner().invoke(app, ["tune", str(sounds), "--model", str(model), *given])
    assert found.exit_code == 0, found.output
    rows = read_split(config.run.manifest, "train")
    assert {row.label for row in rows} == {"glass harp"}
    assert {row.caption_from for row in rows} == {"data.label"}
    tuned = Pipeline.from_pretrained(config.run_dir)
    before = Pipeline.from_pretrained(model).model.vocabulary
    words = tuned.model.vocabulary
    assert words is not None
    assert before is not None
    assert set(words.labels) == {"glass harp", *before.labels}
    assert bool(tuned(["glass harp"], seconds=1.0, seeds=[0]).isfinite().all())
    assert train(config) == config.run.model("generator")  # nothing is left to do


def test_a_word_may_be_given_and_a_model_must_be_there(model: Path, sounds: Path) -> None:
    assert tune_config(sounds, model, label="wineglass").data.label == "wineglass"
    assert tune_config(sounds, model).run_dir == Path("runs/tuned-Glass Harp")
    with pytest.raises(FileNotFoundError, match="no finished model"):
        tune_config(sounds, model.parent)
