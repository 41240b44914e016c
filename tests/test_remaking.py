"""Sounds that are made again until there is nothing wrong with them."""

import itertools
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sampled import sampled
from torch import Tensor

from audiogen.evaluation import material
from audiogen.judge.judge import Judge
from audiogen.model_folder import read_model
from audiogen.pack.curation.choices import Choice, Selection, write_selection
from audiogen.pack.job import take_path
from audiogen.pack.make import Worker, make_pack
from audiogen.pack.redo import RedoRequest, redo_pack, redo_take
from audiogen.pipeline import Pipeline
from audiogen.remaking import MOST_TRIES, REMAKE_STEP, Drawn, draw
from audiogen.run_folder import RunFolder
from audiogen.take_request import TakeRequest, Variation

pytestmark = pytest.mark.usefixtures("fake_text")
RATE = 16_000
LEAST = {"recognised": 0.5}


# How one sound is drawn


def drawn(shares: Sequence[float], *, tries: int = MOST_TRIES, rate: int | None = None) -> Drawn:
    """Draw a sound that is recognised so in each try, and silent in those with less than 0."""

    def number(request: TakeRequest) -> int:
        return (request.seed - 7) // REMAKE_STEP

    def render(requests: Sequence[TakeRequest]) -> list[Tensor]:
        return [torch.full((1, 9), 0.0 if shares[number(one)] < 0 else 0.5) for one in requests]

    request = TakeRequest(prompt="rain", seconds=1.0, seed=7, rate=rate)
    [made] = draw([request], render, lambda one, _: shares[number(one)], RATE, tries=tries)
    return made


@pytest.mark.parametrize(
    ("shares", "kept"),
    [
        ([1.0], 0),
        ([0.2, 0.4, 1.0], 2),
        ([-1.0, 0.1, -1.0, 1.0], 3),
        ([-1.0, 0.2, 0.1, *[-1.0] * 6], 1),  # none passes: what is recognised least badly
        ([0.3, 0.4, 0.2, 0.4, *[0.1] * 5], 1),
    ],
)
def test_the_first_that_is_recognised_is_kept_or_the_best(shares: list[float], kept: int) -> None:
    made = drawn(shares)
    assert made.request.seed == 7 + kept * REMAKE_STEP
    assert (made.weight == 0) == (1.0 in shares)


def test_one_try_is_of_the_very_seed_and_so_is_what_was_chosen_before() -> None:
    assert drawn([0.1, 1.0], tries=1).request.seed == 7
    assert drawn([0.1, 1.0], rate=48_000).request.seed == 7


def test_what_one_recogniser_thinks_is_said_softly(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="audiogen")
    drawn([0.2, -1.0, 1.0])
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("DEBUG", "seed 7 -> 1000007: the recogniser gives it 20% (rain)"),
        ("INFO", "seed 1000007 -> 2000007: it is silent (rain)"),  # which all hear
    ]
    drawn([0.2] * MOST_TRIES)
    last = caplog.records[-1]
    assert (last.levelname, last.getMessage()) == (
        "INFO",
        "seed 7: none of 9 takes passes; that of seed 7 is kept, and the recogniser gives it 20%",
    )


# What a model is asked


@pytest.fixture
def judged(make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small model whose recogniser takes half of all sounds for rain, and the others for hum."""
    run = make_model()
    noise = [torch.randn(1, RATE) for _ in range(4)]
    judge = Judge.fit(noise, ["hum", "rain", "hum", "rain"], RATE, num_versions=1)
    Pipeline(replace(read_model(run), judge=judge)).save_pretrained(run / "generator" / "model")

    def probabilities(_: Judge, wav: Tensor) -> dict[str, float]:
        is_rain = float(wav[0, 3000] > wav[0, 9000])
        return {"rain": is_rain, "hum": 1 - is_rain}

    monkeypatch.setattr(Judge, "probabilities", probabilities)
    return run


def note(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return found


def seeds(paths: Sequence[Path]) -> list[int]:
    return [note(path)["seed"] for path in paths]


@pytest.mark.parametrize("prompt", ["rain", "soft hum"])
def test_a_take_is_made_again_until_it_is_what_its_prompt_names(
    judged: Path, tmp_path: Path, prompt: str
) -> None:
    asked = {"prompts": [prompt], "count": 8, "sampling": LEAST}
    paths = sampled(judged, tmp_path / "a", **asked)
    again = seeds(paths)
    assert again != list(range(8))
    assert [seed % REMAKE_STEP for seed in again] == list(range(8))
    told = [note(path).get("asked_seed", note(path)["seed"]) for path in paths]
    assert told == list(range(8))
    pipeline = Pipeline.from_pretrained(judged)
    sampling = pipeline.config.sample.model_copy(update=LEAST)
    wavs = pipeline([prompt] * 8, seconds=1.0, seeds=range(8), sampling=sampling)
    label = prompt.rsplit(maxsplit=1)[-1]
    assert [Judge.probabilities(pipeline.judge, wav)[label] for wav in wavs] == [1.0] * 8  # type: ignore[arg-type]
    assert seeds(sampled(judged, tmp_path / "b", **asked, batch_size=3)) == again
    for path in paths:
        assert redo_take(path, model=judged, out=tmp_path / "c").verdict == "bit-equal"


@pytest.mark.parametrize(
    ("prompt", "sampling"),
    [("rain", {}), ("Bolivia", LEAST), ("", LEAST), ("rain and a hum", LEAST)],
)
def test_what_the_recogniser_cannot_tell_is_taken_as_it_comes(
    judged: Path, tmp_path: Path, prompt: str, sampling: dict[str, float]
) -> None:
    paths = sampled(judged, tmp_path, prompts=[prompt], count=6, sampling=sampling)
    assert seeds(paths) == list(range(6))
    assert not any("asked_seed" in note(path) for path in paths)


def test_variations_are_of_a_take_that_was_chosen(judged: Path, tmp_path: Path) -> None:
    variation = Variation(from_seed=3, amount=0.5)
    paths = sampled(judged, tmp_path, count=6, sampling=LEAST, variation=variation)
    assert seeds(paths) == list(range(6))


def test_takes_that_were_chosen_from_a_pack_keep_their_seeds(
    judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = read_model(judged)
    sample = old.config.sample.model_copy(update=LEAST)
    asking = replace(old, config=old.config.model_copy(update={"sample": sample}))
    Pipeline(asking).save_pretrained(judged / "generator" / "model")
    listed, pack = tmp_path / "list.csv", tmp_path / "pack"
    listed.write_text("prompt,count,seconds\nrain,6,0.8\n", encoding="utf-8")
    made = make_pack(listed, {}, model=judged, out=pack, worker=Worker()).takes
    before = seeds([take_path(pack, take) for take in made])
    assert max(before) >= REMAKE_STEP
    choices = {take.file: Choice(status="keep") for take in made}
    write_selection(pack, Selection(takes=choices))
    rising = itertools.count()
    monkeypatch.setattr(Judge, "probabilities", lambda *_: {"rain": next(rising) / 100})
    finer = redo_pack(pack, RedoRequest(steps=6), Worker()).takes
    assert seeds([take_path(pack, take) for take in finer]) == before


def test_a_model_without_a_recogniser_takes_all(model: Path, tmp_path: Path) -> None:
    assert seeds(sampled(model, tmp_path, count=4, sampling=LEAST)) == list(range(4))


def test_an_evaluation_finds_the_takes_that_stand_in_for_others(
    judged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline.from_pretrained(judged)
    config: Any = SimpleNamespace(
        run=RunFolder(judged),
        sample=pipeline.config.sample.model_copy(update=LEAST),
        evaluate=SimpleNamespace(seconds=1.0, batch_size=4, seed=0),
    )
    prompts = [("rain", "rain")] * 8
    sounds, _ = material.takes(config, pipeline, prompts)
    assert [float(wav[0, 3000] > wav[0, 9000]) for wav in sounds.wavs] == [1.0] * 8
    files = sorted(config.run.evaluated_takes.glob("*.json"))
    assert any("asked_seed" in json.loads(path.read_text()) for path in files)
    monkeypatch.setattr(material, "make_takes", None)  # which nothing asks for any more
    found, cost = material.takes(config, pipeline, prompts)
    assert cost is None
    assert all(torch.equal(*pair) for pair in zip(found.wavs, sounds.wavs, strict=True))
