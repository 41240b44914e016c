"""A codec is trained once and handed on: to other data, and when its run is gone."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from audiogen.codecs import load_codec, save_codec
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.pipeline import Pipeline
from audiogen.storage import read_json
from audiogen.training.stages import train

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a codec alone."""
    run = tmp_path_factory.mktemp("runs") / "codec"
    train(load_config(TINY / "base.yaml", [f"run_dir={run}", "train.codec.steps=2"]))
    return run


def taking(source: Path, run: Path, *overrides: str) -> ExperimentConfig:
    given = ["codec.type=saved", f"codec.path={source}", f"run_dir={run}"]
    return load_config(TINY / "diffusion.yaml", [*given, "train.generator.steps=4", *overrides])


def test_a_run_takes_it_and_is_whole_without_its_source(source: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(source, tmp_path / "source")
    run = tmp_path / "run"
    config = taking(copy, run)
    model = train(config)
    assert not (run / "codec" / "checkpoints").exists()
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["stage"] for line in lines} == {"generator"}
    for name in ("weights.safetensors", "config.yaml", "README.md", "ATTRIBUTION.csv"):
        files = [folder / "codec" / "model" / name for folder in (copy, run)]
        assert files[0].read_bytes() == files[1].read_bytes()
    shutil.rmtree(copy)
    moved = shutil.move(model, tmp_path / "model")
    pipeline = Pipeline.from_pretrained(moved)
    assert pipeline.config.codec == load_codec(source / "codec" / "model").config
    assert pipeline.config.codec_licence == ""  # it learnt from the same sounds
    assert pipeline(["rain"], seconds=1.0, seeds=[1]).shape == (1, 1, 16000)
    shutil.move(moved, model)
    assert train(load_config(run)) == model  # nothing is left to do, and nothing is missed


@pytest.mark.slow
def test_another_codec_is_another_run(source: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(source, tmp_path / "source")
    run = tmp_path / "run"
    train(taking(copy, run))
    before = sorted((run / "latents").iterdir())
    moved = shutil.move(copy, tmp_path / "moved")
    train(taking(moved, run))  # it is the same codec, elsewhere
    codec = load_codec(moved / "codec" / "model")
    torch.nn.init.normal_(next(codec.parameters()))
    save_codec(moved / "codec" / "model", codec)
    with pytest.raises(ValueError, match="digest"):
        train(taking(moved, run))
    other = taking(moved, tmp_path / "other")
    train(other)
    assert {path.name for path in (other.run_dir / "latents").iterdir()}.isdisjoint(
        path.name for path in before
    )


@pytest.mark.slow
def test_whose_sounds_it_learnt_travels_with_the_model(source: Path, tmp_path: Path) -> None:
    config = taking(source, tmp_path / "run", "data.textures.seed=5")
    model = train(config)
    named = (source / "codec" / "model" / "ATTRIBUTION.csv").read_bytes()
    assert (model / "codec" / "ATTRIBUTION.csv").read_bytes() == named
    assert (model / "ATTRIBUTION.csv").read_bytes() != named
    licence = Pipeline.from_pretrained(model).config.codec_licence
    assert licence.startswith("CC0-1.0 (")
    assert licence in (model / "README.md").read_text(encoding="utf-8")
    Pipeline.from_pretrained(model).save_pretrained(tmp_path / "copy")
    assert (tmp_path / "copy" / "codec" / "ATTRIBUTION.csv").read_bytes() == named
    # a model folder hands its codec on, with the same sounds
    other = taking(tmp_path / "copy", tmp_path / "other", "generator=null", "sample={}")
    assert (train(other) / "ATTRIBUTION.csv").read_bytes() == named


def test_a_codec_of_sounds_that_are_not_allowed_is_refused(source: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(source, tmp_path / "source")
    table = copy / "codec" / "model" / "ATTRIBUTION.csv"
    table.write_text(table.read_text("utf-8").replace("CC0-1.0", "CC-BY-NC-4.0", 1), "utf-8")
    config = taking(copy, tmp_path / "run")
    with pytest.raises(ValueError, match=r"learnt from sounds of CC-BY-NC-4.0"):
        train(config)
    assert not (tmp_path / "run" / "codec" / "model").exists()
    allowed = taking(copy, tmp_path / "run", "generator=null", "data.licence_policy=research")
    assert read_json(train(allowed) / "settings.json")["codec"]["saved_type"] == "vae"
