"""The cluster recipe's code path, at a width that a CPU can run."""

from pathlib import Path

import pytest

from audiogen.experiment import load_experiment
from audiogen.pipeline import Pipeline
from audiogen.training.stages import train

ROOT = Path(__file__).resolve().parents[2]
NARROW = (
    "codec.trunk.encoder_dim=16", "codec.trunk.encoder_depth=1", "codec.trunk.decoder_dim=16",
    "codec.trunk.decoder_depth=1", "codec.trunk.num_bands=32",
    "generator.dim=36", "generator.depth=2",
    "data.textures.num_clips=34", "data.textures.seconds=3", "data.clip_seconds=2",
    "data.num_workers=1", "train.codec.steps=4", "train.codec.batch_size=2",
    "train.codec.crop_seconds=0.4", "train.codec.discriminators.channels=4",
    "train.generator.steps=4", "train.generator.batch_size=4", "train.generator.accumulate=2",
    "train.wandb=off", "train.precision=fp32", "sample.steps=2",
)  # fmt: skip


@pytest.mark.slow
def test_a_few_steps_of_the_cluster_recipe_in_stereo(tmp_path: Path) -> None:
    recipe = ROOT / "recipes" / "cluster" / "diffusion.yaml"
    config = load_experiment(recipe, [*NARROW, f"run_dir={tmp_path / 'run'}"])
    assert config.codec.hop_length == 2048
    model = train(config)
    pipeline = Pipeline.from_pretrained(model)
    wav = pipeline(["rain"], seconds=5.0, seeds=[1])  # more than two windows long
    assert wav.shape == (1, 2, 5 * 44100)
    assert not bool((wav[0, 0] == wav[0, 1]).all())
