"""The pipeline: lengths, batches, negative prompts and loops, with a small untrained model."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audiogen.audio.dsp import loudness_lufs
from audiogen.generators import Start
from audiogen.pipeline import Pipeline
from audiogen.schema import ConfigError
from audiogen.seeds import noise_source
from audiogen.take_request import TakeRequest

pytestmark = pytest.mark.usefixtures("fake_text")


@pytest.fixture
def pipeline(model: Path) -> Pipeline:
    return Pipeline.from_pretrained(model)


def loops(pipeline: Pipeline, prompts: list[str], seconds: float, **asked: Any) -> Tensor:
    requests = [
        TakeRequest(prompt=prompt, seconds=seconds, seed=seed, loop=True, **asked)
        for seed, prompt in enumerate(prompts, start=1)
    ]
    return torch.stack(pipeline.takes(requests))


def test_takes_of_mixed_lengths_are_those_made_alone(pipeline: Pipeline) -> None:
    prompts, seconds, seeds = (
        ["rain", "wind far away", "", "rain"],
        [0.6, 2.3, 1.0, 0.6],
        [1, 2, 3, 4],
    )
    together = pipeline.takes(
        [
            TakeRequest(prompt=prompt, seconds=length, seed=seed)
            for prompt, length, seed in zip(prompts, seconds, seeds, strict=True)
        ]
    )
    for take, prompt, length, seed in zip(together, prompts, seconds, seeds, strict=True):
        assert take.shape == (1, round(length * 16000))
        alone = pipeline([prompt], seconds=length, seeds=[seed])[0]
        torch.testing.assert_close(take, alone, atol=1e-4, rtol=0)


def test_a_call_is_takes_of_one_length(pipeline: Pipeline) -> None:
    called = pipeline(["rain", "wind"], seconds=1.1, seeds=[5, 6])
    listed = pipeline.takes(
        [TakeRequest(prompt=p, seconds=1.1, seed=s) for p, s in (("rain", 5), ("wind", 6))]
    )
    assert torch.equal(called, torch.stack(listed))


def test_a_negative_prompt_changes_the_sound_and_none_does_not(pipeline: Pipeline) -> None:
    plain = pipeline(["rain"], seconds=1.0, seeds=[1])
    assert torch.equal(plain, pipeline(["rain"], seconds=1.0, seeds=[1], negative_prompt=" "))
    away = pipeline(["rain"], seconds=1.0, seeds=[1], negative_prompt="music")
    assert not torch.allclose(plain, away, atol=1e-3)
    unguided = pipeline.config.sample.model_copy(update={"guidance_scale": 1.0})
    with pytest.raises(ValueError, match="guidance, which is off"):
        pipeline(["rain"], seconds=1.0, seeds=[1], negative_prompt="music", sampling=unguided)


@pytest.mark.parametrize("seconds", [0.064, 0.5, 1.0, 2.3456])
def test_loops_have_the_exact_length_in_any_batch(pipeline: Pipeline, seconds: float) -> None:
    together = loops(pipeline, ["rain", "wind", ""], seconds)
    assert together.shape == (3, 1, round(seconds * 16000))
    wind = TakeRequest(prompt="wind", seconds=seconds, seed=2, loop=True)
    torch.testing.assert_close(together[1], pipeline.takes([wind])[0], atol=1e-4, rtol=0)
    assert not torch.allclose(together[0, :, :500], together[1, :, :500], atol=1e-3)


def test_the_level_of_a_loop_is_that_of_its_repetition(pipeline: Pipeline) -> None:
    loop = loops(pipeline, ["rain"], 2.0)[0]
    assert float(loop.abs().max()) <= 10 ** (-1 / 20) + 1e-4
    repeated = loudness_lufs(loop.repeat(1, 2), 16000)
    assert repeated == pytest.approx(-23, abs=0.05) or float(loop.abs().max()) > 0.89


@pytest.mark.parametrize(
    ("samples", "frames"), [(1024, 2), (1300, 3), (16000, 31), (16128, 32), (15872, 31)]
)
def test_a_ring_has_the_nearest_number_of_frames(
    pipeline: Pipeline, samples: int, frames: int
) -> None:
    request = TakeRequest(prompt="", seconds=samples / 16000, seed=0, loop=True)
    assert request.num_frames(pipeline.codec.spec) == frames
    moved = abs(samples / (frames * pipeline.codec.spec.hop_length) - 1)
    assert moved <= 1 / (2 * frames)


@pytest.mark.parametrize("num_frames", [2, 3, 20, 90])
@pytest.mark.parametrize("chunk", [1024, 16])
def test_a_ring_is_decoded_alike_at_every_turn(
    pipeline: Pipeline, num_frames: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, hop, turn = pipeline.codec, pipeline.codec.spec.hop_length, num_frames // 2 + 1
    monkeypatch.setattr(codec, "chunk_frames", chunk)
    latents = torch.randn(2, codec.spec.channels, num_frames)
    noise = torch.randn(2, 1, num_frames * hop)
    turns = 0

    def given(*_: object) -> Iterator[Tensor]:
        return iter([noise.roll(turns * hop, dims=2)])

    monkeypatch.setattr("audiogen.codecs.chunks.white_frames", given)
    first = codec.decode(latents, seeds=[1, 2], ring=True)
    line = codec.decode(latents, seeds=[1, 2])
    turns = turn
    second = codec.decode(latents.roll(turn, dims=2), seeds=[1, 2], ring=True)
    assert first.shape == second.shape == line.shape
    torch.testing.assert_close(first.roll(turn * hop, dims=2), second, atol=1e-5, rtol=0)
    assert not torch.allclose(first, line, atol=1e-4)  # the join is not decoded as two ends
    if num_frames == 90:
        middle = slice(40 * hop, 50 * hop)
        torch.testing.assert_close(first[..., middle], line[..., middle], atol=1e-5, rtol=0)


def test_the_noise_of_the_seed_may_be_given(pipeline: Pipeline) -> None:
    spec = pipeline.codec.spec
    noise = noise_source("start", [7], spec.channels, [spec.num_frames(1.0)])()
    request = TakeRequest(prompt="rain", seconds=1.0, seed=7)
    given = pipeline.render([request], pipeline.conditions([request]), start=Start(noise=noise))
    assert torch.equal(given[0], pipeline(["rain"], seconds=1.0, seeds=[7])[0])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda p: p([], seconds=1.0, seeds=[]), "differ in prompt, seed and length, at least one"),
        (lambda p: p(["a"], seconds=1.0, seeds=[1, 2]), "expected one seed per prompt, got 1, 2"),
        (
            lambda p: p(["a"], seconds=0.4, seeds=[1]),
            r"seconds=0\.4: small makes 0\.5 to 12 s",
        ),
        (lambda p: p(["a"], seconds=float("nan"), seeds=[1]), "seconds=nan"),
        (lambda p: loops(p, ["a"], 0.06), "a loop has at least two latent frames"),
        (lambda p: loops(p, ["a"], 13), r"makes 0\.064 to 12 s"),
        (
            lambda p: p.takes(
                [TakeRequest(prompt="a", seconds=1, seed=1, loop=loop) for loop in (True, False)]
            ),
            "expected takes that differ in",
        ),
        (
            lambda p: p.takes([TakeRequest(prompt="a", seconds=1, seed=1, to_end=True)]),
            "told how long a sound is",
        ),
    ],
)
def test_wrong_requests_are_refused(
    pipeline: Pipeline, call: Callable[[Pipeline], object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        call(pipeline)


def test_takes_that_are_no_numbers_are_refused_by_their_seeds(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = pipeline.generator.draw

    def broken(*args: Any, **kwargs: Any) -> torch.Tensor:
        latents: torch.Tensor = sample(*args, **kwargs)
        latents[1, 0, -1] = torch.nan
        return latents

    monkeypatch.setattr(pipeline.generator, "draw", broken)
    with pytest.raises(ValueError, match=r"of seeds 6 is not finite\n  try another solver"):
        pipeline(["rain", "wind"], seconds=1.0, seeds=[5, 6])


@pytest.fixture
def controlled(controlled_model: Path) -> Pipeline:
    return Pipeline.from_pretrained(controlled_model)


def test_a_control_changes_the_sound_and_none_is_none(controlled: Pipeline) -> None:
    plain = controlled(["rain"], seconds=1.0, seeds=[1])
    assert torch.equal(plain, controlled(["rain"], seconds=1.0, seeds=[1], controls={}))
    dark, bright = (
        controlled(["rain"], seconds=1.0, seeds=[1], controls={"brightness": hertz})
        for hertz in (300, 5000)
    )
    for first, second in ((dark, bright), (plain, dark), (plain, bright)):
        assert not torch.allclose(first, second, atol=1e-3)
    away = [
        controlled(
            ["rain"],
            seconds=1.0,
            seeds=[1],
            negative_prompt="wind",
            controls={"brightness": hertz},
        )
        for hertz in (300, 5000)
    ]
    assert not torch.allclose(away[0], away[1], atol=1e-3)


def test_takes_with_controls_are_those_made_alone(controlled: Pipeline) -> None:
    controls = {"brightness": 900.0, "density": 3.0}
    prompts, seconds, seeds = ["rain", "wind far away", ""], [0.6, 2.3, 1.0], [1, 2, 3]
    together = controlled.takes(
        [
            TakeRequest(prompt=prompt, seconds=length, seed=seed, controls=controls)
            for prompt, length, seed in zip(prompts, seconds, seeds, strict=True)
        ]
    )
    rings = loops(controlled, prompts, 0.8, controls=controls)
    for number, (prompt, length, seed) in enumerate(zip(prompts, seconds, seeds, strict=True)):
        alone = controlled([prompt], seconds=length, seeds=[seed], controls=controls)[0]
        torch.testing.assert_close(together[number], alone, atol=1e-4, rtol=0)
        request = TakeRequest(prompt=prompt, seconds=0.8, seed=seed, loop=True, controls=controls)
        torch.testing.assert_close(rings[number], controlled.takes([request])[0], atol=1e-4, rtol=0)
    assert not torch.allclose(rings, loops(controlled, prompts, 0.8), atol=1e-3)


def test_controls_survive_saving(controlled: Pipeline, tmp_path: Path) -> None:
    controlled.save_pretrained(tmp_path / "copy")
    copy = Pipeline.from_pretrained(tmp_path / "copy")
    ranges = {"brightness": (200.0, 6000.0), "density": (0.0, 8.0)}
    assert copy.config.generator.conditioner.ranges == ranges
    asked = {"brightness": 900.0}
    first, second = (
        one(["rain"], seconds=1.0, seeds=[1], controls=asked) for one in (controlled, copy)
    )
    assert torch.equal(first, second)


def test_unknown_controls_are_refused_before_anything_is_made(
    controlled: Pipeline, pipeline: Pipeline
) -> None:
    for wrong, said in (
        ({"brighness": 900}, "did you mean brightness"),
        ({"brightness": 0.8}, r"0\.8 is outside of .*\n  it has brightness \(200 to 6000 Hz\)"),
        ({"density": "many"}, "density: expected a number, got 'many'"),
    ):
        with pytest.raises(ConfigError, match=said):
            controlled(["rain"], seconds=1.0, seeds=[1], controls=wrong)
    with pytest.raises(ConfigError, match="trained without controls"):
        loops(pipeline, ["rain"], 1.0, controls={"density": 3})
