"""The cluster recipe's code path, at a width that a CPU can run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from audiogen.experiment import load_config
from audiogen.pipeline import Pipeline
from audiogen.training.checkpoint.folder import load_latest
from audiogen.training.stages import train

ROOT = Path(__file__).resolve().parents[2]
NARROW = (
    "codec.trunk.encoder_dim=16",
    "codec.trunk.encoder_depth=1",
    "codec.trunk.decoder_dim=16",
    "codec.trunk.decoder_depth=1",
    "codec.trunk.num_bands=32",
    "generator.dim=36",
    "generator.depth=2",
    "data.textures.num_clips=34",
    "data.textures.seconds=3",
    "data.clip_seconds=2",
    "data.num_workers=1",
    "train.codec.steps=4",
    "train.codec.batch_size=2",
    "train.codec.crop_seconds=0.4",
    "train.codec.discriminators.channels=4",
    "train.generator.steps=4",
    "train.generator.batch_size=4",
    "train.generator.accumulate=2",
    "train.wandb=off",
    "train.precision=fp32",
    "sample.steps=2",
)


RECIPE = ROOT / "recipes" / "cluster" / "diffusion.yaml"


@pytest.mark.slow
def test_a_few_steps_of_the_cluster_recipe_in_stereo(tmp_path: Path) -> None:
    config = load_config(RECIPE, [*NARROW, f"run_dir={tmp_path / 'run'}"])
    assert config.codec.hop_length == 2048
    model = train(config)
    pipeline = Pipeline.from_pretrained(model)
    wav = pipeline(["rain"], seconds=5.0, seeds=[1])  # more than two windows long
    assert wav.shape == (1, 2, 5 * 44100)
    assert not bool((wav[0, 0] == wav[0, 1]).all())


@pytest.mark.slow
def test_processes_that_share_the_weights_show_and_publish_a_whole_model(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "-m",
        "audiogen",
        "train",
        str(RECIPE),
        *NARROW,
        "train.parallel=fsdp",
        "train.demo_every=2",
        f"run_dir={run}",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    shown = sorted({path.parent.name for path in (run / "demos" / "generator").rglob("*.wav")})
    assert len(shown) == 3  # before the first step, and after two and four
    pipeline = Pipeline.from_pretrained(run / "generator" / "model")
    assert not bool(pipeline(["rain"], seconds=1.0, seeds=[1]).isnan().any())
    saved = load_latest(run / "generator" / "checkpoints")
    assert saved is not None
    weights = pipeline.generator.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in saved.tensors["ema"].items())
