"""Encoding, which takes minutes on a large set, says how far it is."""

from pathlib import Path

import pytest

from audiogen.experiment import load_config
from audiogen.training.stages import train

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny" / "diffusion.yaml"


def test_encoding_tells_how_many_sounds_are_done(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["train.codec.steps=1", "train.generator.steps=1", "train.generator.versions=3"]
    train(load_config(TINY, [f"run_dir={tmp_path}", *words]))
    shown = [line for line in capfd.readouterr().err.splitlines() if line.startswith("encoding")]
    assert shown[0].startswith("encoding  sound 1/")
    done, total = shown[-1].split()[2].split("/")
    assert done == total
    assert int(total) > 3
