"""A sound is forgotten by doing what `data forget` says, and an artist's folder needs one word."""

import shutil
from pathlib import Path

import pytest
import torch

from audiogen.audio.io.files import write_audio
from audiogen.data.manifest import read_split
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.provenance.forget import find_uses
from audiogen.training.preparation import prepare
from audiogen.training.stages import train

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "tiny" / "diffusion.yaml"


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder of recordings without any metadata."""
    folder = tmp_path / "sounds"
    for label in ("rain", "sea"):
        for name in ("alpha", "beta", "gamma", "delta"):
            write_audio(folder / label / f"{name} {label}.wav", torch.randn(1, 16000) / 10, 16000)
    return folder


def mine(sounds: Path, *overrides: str) -> ExperimentConfig:
    run = sounds.parent / "runs" / "mine"
    return load_config(RECIPE, [f"run_dir={run}", f"data.path={sounds}", *overrides])


def test_own_sounds_need_the_statement(sounds: Path) -> None:
    with pytest.raises(ValueError, match=r'ARGS="data\.i_own_these=true"'):
        prepare(mine(sounds))
    assert not (mine(sounds).run_dir / "manifest.jsonl").exists()
    assert "LicenseRef-Own" in prepare(mine(sounds, "data.i_own_these=true"))
    with pytest.raises(ValueError, match="no licence is known"):  # taken back
        prepare(mine(sounds))


@pytest.mark.slow
def test_forget_then_train_again(sounds: Path) -> None:
    config = mine(sounds, "data.i_own_these=true")
    train(config)
    gone = read_split(config.run.manifest, "train")[0]
    uses = find_uses(gone.path, config.run_dir.parent)
    models = [config.run_dir / stage / "model" for stage in ("codec", "generator")]
    assert list(uses.models) == models
    (sounds / gone.path).unlink()
    for folder in [*uses.models, *uses.runs[config.run_dir]]:
        shutil.rmtree(folder)
    train(load_config(config.run_dir))
    assert all((model / "ATTRIBUTION.csv").is_file() for model in models)
    again = find_uses(gone.path, config.run_dir.parent)
    assert (again.models, again.runs, again.unreadable) == ({}, {}, [])
    assert again.searched == 3
