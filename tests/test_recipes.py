"""Every recipe validates, dumps, reloads equal and builds."""

import contextlib
from pathlib import Path

import pytest
import torch

from audiogen.codecs import build_codec
from audiogen.codecs.saved import SavedConfig
from audiogen.conditioning.controls import CONTROL_NAMES
from audiogen.conditioning.text import TEXT_DIM
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.generators import build_generator
from audiogen.schema import dump_config

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))


def num_parameters(config: ExperimentConfig) -> list[int]:
    """Parameters of the codec and of the generator, if there is one; what is new without memory."""
    models: list[torch.nn.Module] = []
    saved = isinstance(config.codec, SavedConfig)
    with contextlib.nullcontext() if saved else torch.device("meta"):
        codec = build_codec(config.codec)
    with torch.device("meta"):
        models.append(codec)
        if config.generator is not None:
            window = codec.spec.num_frames(config.data.clip_seconds)
            ranges = dict.fromkeys(CONTROL_NAMES, (1.0, 2.0))  # training takes those of its sounds
            generator = config.generator.with_ranges(ranges)
            models.append(build_generator(generator, codec.spec, TEXT_DIM, window))
    return [sum(p.numel() for p in model.parameters()) for model in models]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_recipe_validates_reloads_equal_and_builds(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump_config(config), encoding="utf-8")
    assert load_config(copy) == config
    assert min(num_parameters(config)) > 0


def test_the_cluster_recipe_is_full_size() -> None:
    config = load_config(ROOT / "recipes" / "cluster" / "diffusion.yaml")
    assert (config.codec.sample_rate, config.codec.audio_channels) == (44100, 2)
    assert num_parameters(config)[1] >= 300_000_000


@pytest.mark.parametrize("name", ["rvq", "autoregressive", "masked"])
def test_tokens_are_of_the_same_sounds_as_latents(name: str) -> None:
    names = (name, "diffusion-scratch")
    config, other = (load_config(ROOT / "recipes" / f"{one}.yaml") for one in names)
    with torch.device("meta"):
        spec, beside = (build_codec(one.codec).spec for one in (config, other))
    for number in ("sample_rate", "audio_channels", "hop_length"):
        assert getattr(spec, number) == getattr(beside, number)
    assert (spec.channels, spec.vocab_size) == (5, 1024)  # one of them is the pitch
    assert spec.bits_per_second() == pytest.approx(1077, abs=0.5)  # as the README says


def test_mistakes_across_blocks_are_named() -> None:
    recipe = ROOT / "recipes" / "diffusion-scratch.yaml"
    with pytest.raises(ValueError, match=r"dim=100 must be a multiple of twice num_heads=6"):
        load_config(recipe, ["generator.dim=100"])
    with pytest.raises(ValueError, match="distil needs a generator"):
        load_config(ROOT / "recipes" / "flow-fewstep.yaml", ["generator=null", "start=scratch"])
    with pytest.raises(ValueError, match=r"data\.clip_seconds=0\.1 is shorter than four"):
        load_config(recipe, ["data.clip_seconds=0.1"])


def test_a_recipe_says_only_what_differs_and_a_run_is_named_after_it() -> None:
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        lines = [line for line in path.read_text("utf-8").splitlines() if line[0] != "#"]
        assert len(lines) <= 12, path
        assert load_config(path).run_dir == Path("runs") / path.stem


@pytest.mark.parametrize(
    ("key", "more"),
    [("data.path", []), ("run_dir", []), ("codec.path", ["codec.type=saved"])],
)
def test_a_tilde_is_the_home_folder(
    key: str, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    recipe = ROOT / "recipes" / "tiny" / "diffusion.yaml"
    for typed, meant in (("~/my sounds", tmp_path / "my sounds"), ("~", tmp_path), ("~1", "~1")):
        found: object = load_config(recipe, [*more, f"{key}={typed}"], must_find=False)
        for name in key.split("."):
            found = getattr(found, name)
        assert found == Path(meant)
