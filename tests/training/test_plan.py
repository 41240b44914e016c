"""The plan of a recipe agrees with what can be counted, and with what the recipe asks for."""

import re
from pathlib import Path

import pytest

from audiogen.conditioning.text import TEXT_DIM
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.generators import build_generator
from audiogen.training.plan import Machine, describe_plan
from audiogen.types import LatentSpec

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny"
DEEP = ("generator.depth=6", "generator.dim=128", "train.generator.batch_size=32")


def load(*overrides: str, name: str = "diffusion") -> ExperimentConfig:
    return load_config(TINY / f"{name}.yaml", list(overrides))


def numbers(text: str, stage: str) -> dict[str, float]:
    """Figures of one stage of a plan."""
    part = text[text.index(f"{stage}: ") :]
    patterns = {
        "millions": r"([\d.]+) M parameters",
        "items": r"(\d+) item",
        "activations": r"activations about ([\d.]+)",
        "steps_per_day": r"at most ([\d,]+)",
    }
    found = {name: re.search(pattern, part) for name, pattern in patterns.items()}
    return {name: float(match[1].replace(",", "")) for name, match in found.items() if match}


def test_parameters_and_operations_are_those_of_the_network() -> None:
    config = load(*DEEP)
    spec = LatentSpec(
        kind="continuous",
        channels=8,
        vocab_size=None,
        hop_length=512,
        sample_rate=16000,
        audio_channels=1,
    )
    assert config.generator is not None
    window = spec.num_frames(config.data.clip_seconds)
    model = build_generator(config.generator, spec, TEXT_DIM, window)
    counted = sum(parameter.numel() for parameter in model.parameters())
    plan = numbers(describe_plan(config, Machine(tflops=1e-3, utilisation=1.0)), "generator")
    assert plan["millions"] == pytest.approx(counted / 1e6, abs=0.06)
    blocks = sum(p.numel() for name, p in model.named_parameters() if ".blocks." in name)
    least = 3 * 2 * blocks * (window / 2) * 32  # 2 operations a weight and patch of two frames
    found = 86400 * 1e9 / plan["steps_per_day"]
    assert 0.9 * least < found < 2 * least


def test_more_gpus_and_recomputation_need_less_memory() -> None:
    big = (*DEEP, "train.generator.batch_size=4096", "train.codec.batch_size=8")
    one, eight = (numbers(describe_plan(load(*big), Machine(gpus=n)), "generator") for n in (1, 8))
    assert one["items"] == 8 * eight["items"]
    assert one["activations"] == pytest.approx(8 * eight["activations"], rel=0.05)
    light = describe_plan(load(*big, "train.activation_checkpointing=true"), Machine())
    assert numbers(light, "generator")["activations"] < 0.4 * one["activations"]


def test_what_does_not_fit_is_said() -> None:
    assert "TOO MUCH" in describe_plan(load(*DEEP), Machine(memory_gb=0.01))
    with pytest.raises(ValueError, match="must be a multiple of 3"):
        describe_plan(load(), Machine(gpus=3))


@pytest.mark.parametrize("name", ["autoregressive", "mel", "rvq", "flow-fewstep"])
def test_every_family_has_a_plan(name: str) -> None:
    assert "M parameters" in describe_plan(load(name=name), Machine())


def test_splitting_over_gpus_divides_the_state() -> None:
    def gigabytes(*overrides: str) -> dict[str, float]:
        text = describe_plan(load(*big, *overrides), Machine(gpus=8))
        (line,) = [one for one in text[text.index("generator: ") :].splitlines() if "GB per" in one]
        return {name: float(size) for name, size in re.findall(r"([a-z]+) ([\d.]+)", line)}

    big = (
        "generator.depth=32",
        "generator.dim=512",
        "train.generator.batch_size=64",
        "train.codec.batch_size=8",
    )
    copied, split = gigabytes(), gigabytes("train.parallel=fsdp")
    assert "gathered" not in copied
    assert copied["weights"] > 0.2
    for kind in ("weights", "gradients", "optimizer", "average"):
        assert split[kind] == pytest.approx(copied[kind] / 8, abs=0.006)
    assert 0 < split["gathered"] < copied["weights"] / 2


def test_a_recipe_with_controls_has_their_parameters_in_its_plan() -> None:
    big = ("generator.dim=512", "generator.num_heads=8")
    plain, more = (
        numbers(describe_plan(load(*big, *given), Machine()), "generator")["millions"]
        for given in ((), ("generator.conditioner.controls=[brightness, density, key]",))
    )
    each = 32 * 512 + 512 * 512 + 3 * 512
    assert more - plain == pytest.approx(3 * each / 1e6, abs=0.11)
