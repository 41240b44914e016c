"""A codec that was trained before is found, taken as it is, and known again."""

import shutil
from pathlib import Path

import pytest
import torch

from audiogen.codecs import build_codec, find_saved, kind_of, load_codec, save_codec
from audiogen.codecs.rvq import RVQConfig
from audiogen.codecs.saved import SavedConfig
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.schema import ConfigError, dump_config
from audiogen.training.plan import Machine, describe_plan

ROOT = Path(__file__).resolve().parents[2]
OWN = RVQConfig.model_validate(
    {
        "sample_rate": 16000,
        "audio_channels": 2,
        "hop_length": 256,
        "latent_channels": 8,
        "trunk": {
            "n_fft": 256,
            "stft_hop": 64,
            "num_bands": 16,
            "encoder_dim": 8,
            "encoder_depth": 1,
            "decoder_dim": 8,
            "decoder_depth": 1,
        },
        "bottleneck": {"num_codebooks": 2, "vocab_size": 8},
    }
)


@pytest.fixture(params=["run", "model", "codec"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A place that holds a codec in each of the three ways."""
    below = {"run": "codec/model", "model": "codec", "codec": ""}[request.param]
    folder = tmp_path / "there" / below
    folder.mkdir(parents=True)
    save_codec(folder, build_codec(OWN))
    return tmp_path / "there"


def recipe(path: Path, *overrides: str, name: str = "autoregressive") -> ExperimentConfig:
    given = ["codec.type=saved", f"codec.path={path}", *overrides]
    return load_config(ROOT / "recipes" / f"{name}.yaml", given)


def test_it_is_the_codec_that_was_saved(path: Path) -> None:
    codec = build_codec(SavedConfig(path=path))
    saved = load_codec(SavedConfig(path=path).folder)
    assert codec.config == OWN
    assert not codec.trainable
    wav = 0.1 * torch.randn(1, 2, 5000)
    assert torch.equal(codec.encode(wav), saved.encode(wav))


def test_a_recipe_knows_what_it_is(path: Path, tmp_path: Path) -> None:
    codec = recipe(path).codec
    assert (codec.sample_rate, codec.audio_channels, codec.hop_length) == (16000, 2, 256)
    assert (kind_of(codec), codec.family) == ("tokens", "rvq")
    with pytest.raises(ConfigError, match="tokens"):
        recipe(path, "start=scratch", name="flow")
    # what a run writes of itself stays true when the codec is gone
    copy = tmp_path / "config.yaml"
    copy.write_text(dump_config(recipe(path)), encoding="utf-8")
    shutil.rmtree(path)
    assert load_config(copy).codec == codec


def test_what_it_cannot_be_is_refused(path: Path) -> None:
    assert recipe(path, "codec.sample_rate=16000").codec.sample_rate == 16000
    with pytest.raises(ConfigError, match=r"codec.audio_channels=1: the codec at .* has 2"):
        recipe(path, "codec.audio_channels=1")


def test_a_plan_leaves_it_out(path: Path) -> None:
    plan = describe_plan(recipe(path, "data.clip_seconds=1"), Machine())
    assert "generator: " in plan
    assert "\ncodec: " not in plan


def test_a_codec_that_is_not_there_is_told_before_a_run_and_not_when_printed(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match=r"flow.yaml: codec.path: .*nowhere: no finished codec"):
        recipe(tmp_path / "nowhere", name="flow")
    (tmp_path / "begun" / "codec" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ConfigError, match="begun: no finished codec here"):
        recipe(tmp_path / "begun", name="flow")
    given = ["codec.path=nowhere"]
    printed = dump_config(load_config(ROOT / "recipes" / "flow.yaml", given, must_find=False))
    assert "path: nowhere" in printed
    with pytest.raises(ConfigError, match=r"codec.path: missing"):
        load_config(ROOT / "recipes" / "diffusion-scratch.yaml", ["codec.type=saved"])


def test_another_codec_in_its_place_is_refused(path: Path) -> None:
    config = find_saved(SavedConfig(path=path))
    save_codec(SavedConfig(path=path).folder, build_codec(OWN))  # other random weights
    with pytest.raises(ValueError, match="another codec than this run began with"):
        build_codec(config)
    with pytest.raises(ValueError, match="another codec than this run began with"):
        _ = config.folder


def test_a_codec_folder_does_not_point_elsewhere(path: Path, tmp_path: Path) -> None:
    """A folder from others opens no other place on this disk, nor itself for ever."""
    folder = tmp_path / "pointer"
    folder.mkdir()
    codec = build_codec(OWN)
    codec.config = SavedConfig(path=path)
    save_codec(folder, codec)
    with pytest.raises(ConfigError, match="type: no type 'saved'"):
        load_codec(folder)
