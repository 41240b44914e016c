"""A trained model learns a flat folder of sounds under a word of its own, and keeps its others."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from audiogen.adapter import changes_between, mix
from audiogen.cli.main import app
from audiogen.data.intake.licences import LicenceTerms, least_strict
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
    assert f"audiogen sample {config.run_dir} --prompt 'glass harp'" in found.output
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
    written = (config.run.adapter / "adapter.safetensors").stat().st_mtime_ns
    found = CliRunner().invoke(app, ["tune", str(sounds), "--model", str(model), *given])
    assert found.exit_code == 0, found.output
    # Nothing was left to do.
    assert (config.run.adapter / "adapter.safetensors").stat().st_mtime_ns == written

    mixed = tmp_path / "mixed"
    part, half = f"{config.run_dir}=1", f"{config.run_dir}=-0.5"
    for parts in ([part, half], [part]):
        found = CliRunner().invoke(app, ["mix", *parts, "--model", str(model), "--out", str(mixed)])
        assert found.exit_code == 0, found.output
        weights, own, begun = (weights_of(one) for one in (mixed, config.run_dir, model))
        total = sum(float(one.rpartition("=")[2]) for one in parts)
        for name, weight in weights.items():
            change = own[name] - begun[name]
            torch.testing.assert_close(weight - begun[name], total * change, atol=1e-4, rtol=0.02)
    pipeline = Pipeline.from_pretrained(mixed)
    assert pipeline.config.name == "mixed"
    assert pipeline.config.licences == tuned.config.licences
    assert pipeline.config.terms == tuned.config.terms
    assert pipeline.model.vocabulary is not None
    assert set(pipeline.model.vocabulary.labels) == set(words.labels)
    card = (mixed / "README.md").read_text(encoding="utf-8")
    assert f"`{config.run.adapter}`, weight 1" in card
    require_told_table(mixed)
    assert bool(pipeline(["glass harp"], seconds=1.0, seeds=[0]).isfinite().all())
    with pytest.raises(ValueError, match="an adapter of another model"):
        mix(config.run_dir, [(config.run_dir, 1.0)], mixed)
    with pytest.raises(FileNotFoundError, match="no adapter here"):
        mix(model, [(model, 1.0)], mixed)
    assert Pipeline.from_pretrained(mixed).digest == pipeline.digest
    with pytest.raises(ValueError, match="something that is no model"):
        mix(model, [(config.run_dir, 1.0)], sounds)
    assert len(list(sounds.iterdir())) == 8


def require_told_table(model: Path) -> None:
    """The Croissant of a model is of the table beside it."""
    table = hashlib.sha256((model / "ATTRIBUTION.csv").read_bytes()).hexdigest()
    told = json.loads((model / "croissant.json").read_text(encoding="utf-8"))
    assert [one["sha256"] for one in told["distribution"]] == [table]


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return dict(Pipeline.from_pretrained(path).generator.state_dict())


def test_the_change_of_a_matrix_is_its_largest_parts() -> None:
    torch.manual_seed(0)
    before = {"matrix": torch.randn(80, 50), "vector": torch.randn(9), "same": torch.ones(3)}
    change = torch.randn(80, 2) @ torch.randn(2, 50)
    after = {**before, "matrix": before["matrix"] + change, "vector": before["vector"] + 1}
    found = changes_between(before, after, rank=4)
    assert set(found) == {"matrix.left", "matrix.right", "vector"}
    assert found["matrix.left"].shape == (80, 4)
    product = found["matrix.left"].float() @ found["matrix.right"].float()
    torch.testing.assert_close(product, change, atol=0.05, rtol=0.02)
    torch.testing.assert_close(found["vector"].float(), torch.ones(9), atol=0.01, rtol=0)


def test_a_mix_is_under_the_terms_of_the_least_strict() -> None:
    research = LicenceTerms(licence_policy="research", unknown_licence_reason="a study")
    own = LicenceTerms(licence_policy="cc0", i_own_these=True)
    both = least_strict([own, research, LicenceTerms()])
    assert both == LicenceTerms(
        licence_policy="research", i_own_these=True, unknown_licence_reason="a study"
    )
    assert least_strict([own, None]) is None


def test_a_word_may_be_given_and_a_model_must_be_there(model: Path, sounds: Path) -> None:
    assert tune_config(sounds, model, label="wineglass").data.label == "wineglass"
    assert tune_config(sounds, model).run_dir == Path("runs/tuned-Glass Harp")
    with pytest.raises(FileNotFoundError, match="no finished model"):
        tune_config(sounds, model.parent)
