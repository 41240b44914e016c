"""Adding a codec or a generator is a file and a line: the rest of the package follows.

The contract tests of both ask the same of the toys as of our own.
"""

from pathlib import Path

import pytest
import torch
from fake_text import FakeTextEncoder
from toys import ToyCodec, ToyCodecConfig, ToySampling
from typer.testing import CliRunner

from audiogen import Pipeline, load_config
from audiogen.cli.main import app
from audiogen.schema import ConfigError
from audiogen.take_request import TakeRequest
from audiogen.training.stages import train

pytestmark = pytest.mark.usefixtures("_toys_added")
RECIPE = """
name: toys
codec: {type: toy, sample_rate: 16000, hop_length: 512, width: 3}
generator: {type: toy}
sample: {amount: 0.5}
data: {textures: {num_clips: 14, seconds: 1.0}, clip_seconds: 1.0}
train:
  precision: fp32
  codec:
    steps: 3
    batch_size: 4
    crop_seconds: 0.256
    adversarial_start: 1
    spectral: {windows_ms: [32, 8], bin_windows_ms: [8]}
    discriminators: {windows_ms: [16], channels: 4}
  generator: {steps: 3, batch_size: 4}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "toys.yaml"
    path.write_text(f"run_dir: {tmp_path / 'run'}\n{RECIPE}", encoding="utf-8")
    return path


def test_recipes_know_them(recipe: Path) -> None:
    config = load_config(recipe)
    assert config.codec == ToyCodecConfig(sample_rate=16000, hop_length=512, width=3)
    assert config.sample == ToySampling(amount=0.5)
    with pytest.raises(ConfigError, match=r"codec\.widht: unknown key; did you mean codec\.width"):
        load_config(recipe, ["codec.widht=3"])
    with pytest.raises(ConfigError, match=r"choose one of .*toy.*; did you mean 'toy'"):
        load_config(recipe, ["generator.type=tov"])


def test_the_command_line_knows_them(recipe: Path) -> None:
    told = CliRunner().invoke(app, ["config", str(recipe), "codec.width=2"])
    assert told.exit_code == 0, told.output
    assert "width: 2" in told.output
    assert "amount: 0.5" in told.output


def test_they_are_trained_published_loaded_and_sampled(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("audiogen.training.preparation", "audiogen.pipeline"):
        monkeypatch.setattr(f"{place}.TextEncoder", FakeTextEncoder)
    config = load_config(recipe)
    train(config)
    pipeline = Pipeline.from_pretrained(config.run_dir)
    assert isinstance(pipeline.codec, ToyCodec)
    together = pipeline(["rain", "wind"], seconds=1.0, seeds=[1, 2])
    assert together.shape == (2, 1, 16000)
    alone = pipeline(["wind"], seconds=1.0, seeds=[2])
    torch.testing.assert_close(together[1:], alone)
    with pytest.raises(ValueError, match="no ring"):
        pipeline.takes([TakeRequest(prompt="rain", seconds=1.0, seed=1, loop=True)])
    with pytest.raises(ValueError, match="told how long a sound is"):
        pipeline.takes([TakeRequest(prompt="rain", seconds=1.0, seed=1, to_end=True)])
