"""A codec's training begins with the trunk of another one, of other latents and other sounds."""

from pathlib import Path

import pytest
import torch

from audiogen.codecs import load_codec
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.provenance.attribution import read_attribution
from audiogen.schema import ConfigError
from audiogen.training.stages import train

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny"
SIZES = {"num_bands": 24, "encoder_dim": 32, "encoder_depth": 1, "decoder_dim": 32}
TRUNK = f"codec.trunk={{type: harmonic, {', '.join(f'{k}: {v}' for k, v in SIZES.items())}"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a VAE, and a model in whose folder the sounds of both are told."""
    run = tmp_path_factory.mktemp("runs") / "first"
    steps = ["train.codec.steps=2", "train.generator.steps=2"]
    train(load_config(TINY / "diffusion.yaml", [f"run_dir={run}", *steps]))
    return run


def tokens(first: Path, run: Path, *overrides: str) -> ExperimentConfig:
    """Another codec on the same trunk, of other sounds, whose training hardly moves it."""
    still = ["train.codec.steps=2", "train.codec.optim.lr=1e-12", "data.textures.seed=5"]
    given = [f"{TRUNK}, decoder_depth: 1}}", f"train.codec.start={first}", f"run_dir={run}"]
    return load_config(TINY / "rvq.yaml", [*given, *still, *overrides])


def trunk_of(run: Path) -> dict[str, torch.Tensor]:
    return load_codec(run / "codec" / "model").get_submodule("trunk").state_dict()


def test_all_of_the_trunk_but_the_way_into_latents_and_out_is_taken(
    first: Path, tmp_path: Path
) -> None:
    config = tokens(first, tmp_path / "run")
    train(config)
    begun, ended = trunk_of(first), trunk_of(config.run_dir)
    assert begun.keys() == ended.keys()
    other = {name for name, tensor in ended.items() if tensor.shape != begun[name].shape}
    assert len(other) <= 2, other
    for name in ended.keys() - other:
        torch.testing.assert_close(ended[name], begun[name], atol=1e-6, rtol=1e-5)
    from_nothing = tokens(first, tmp_path / "nothing", "train.codec.start=scratch")
    train(from_nothing)
    assert any(
        not torch.allclose(tensor, begun[name], atol=1e-3)
        for name, tensor in trunk_of(from_nothing.run_dir).items()
        if name not in other
    )


@pytest.mark.parametrize("part", ["", "generator/model"])
def test_the_sounds_of_both_are_told(first: Path, tmp_path: Path, part: str) -> None:
    config = tokens(first / part, tmp_path / "run")
    model = train(config)
    own, before = (
        {row["sha256"] for row in read_attribution(folder / "ATTRIBUTION.csv")}
        for folder in (model, first / "codec" / "model")
    )
    assert before < own
    card = (model / "README.md").read_text(encoding="utf-8")
    assert f"had learnt from {len(before)} other files" in card


def test_a_run_knows_the_codec_that_it_began_from(first: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    model = train(tokens(first, run))
    assert train(load_config(run)) == model  # nothing is left to do
    copy = tmp_path / "copy"
    copy.symlink_to(first)
    assert train(tokens(copy, run)) == model  # the same codec, elsewhere
    with pytest.raises(ValueError, match=r"train\.codec\.start"):
        train(tokens(first, run, "train.codec.start=scratch"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("codec.trunk.decoder_dim=48", r"codec\.trunk\.decoder_dim is 32 there, and 48 here"),
        ("codec.hop_length=256", r"codec\.hop_length is 512 there, and 256 here"),
        ("codec={type: mel, sample_rate: 16000, hop_length: 512}", "no trunk in common"),
    ],
)
def test_another_trunk_is_refused(first: Path, tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        train(tokens(first, tmp_path / "run", override))
    assert "train.codec.start=scratch" in str(refused.value)
    assert len(str(refused.value).splitlines()) <= 4
    assert not (tmp_path / "run").exists()


def test_a_codec_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.codec\.start: .*no finished codec"):
        tokens(tmp_path / "nowhere", tmp_path / "run")


def test_sounds_that_the_policy_does_not_allow_are_refused(first: Path, tmp_path: Path) -> None:
    table = first / "codec" / "model" / "ATTRIBUTION.csv"
    known = table.read_text(encoding="utf-8")
    licence = next(row["licence"] for row in read_attribution(table))
    table.write_text(known.replace(licence, "CC-BY-NC-4.0"), encoding="utf-8")
    try:
        with pytest.raises(ValueError, match=r"train\.codec\.start: it learnt from sounds of CC"):
            train(tokens(first, tmp_path / "run"))
    finally:
        table.write_text(known, encoding="utf-8")


def test_a_codec_that_is_not_trained_begins_nowhere(first: Path, tmp_path: Path) -> None:
    """A recipe of tokens takes a finished codec, also where the one to begin with is gone."""
    codec = ["codec={type: saved}", f"codec.path={first}", "train.codec.start=not_there"]
    config = load_config(TINY / "diffusion.yaml", [*codec, f"run_dir={tmp_path / 'run'}"])
    assert config.codec.family == "vae"
    assert train(config).is_dir()
