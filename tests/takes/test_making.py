"""Takes and loops as files: names, lengths, sidecars, and loops that are made again."""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
from sampled import sampled
from torch import Tensor

from audiogen import remaking
from audiogen.audio.loops import Seam, measure_seam
from audiogen.pipeline import Pipeline
from audiogen.remaking import MOST_TRIES, REMAKE_STEP
from audiogen.schema import ConfigError
from audiogen.take_request import TakeRequest, Tempo

pytestmark = pytest.mark.usefixtures("fake_text")


def takes_of(model: Path, out: Path, **changes: Any) -> list[Path]:
    return sampled(model, out, **{"count": 2, "seed": 7, **changes})


def note(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return found


def judge(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    """Let the seams of the loops have these scores, in the order in which they are made."""
    left = iter(scores)

    def measured(*given: Any) -> Seam:
        score = next(left)
        return replace(measure_seam(*given), score=score, passes=score <= 1)

    monkeypatch.setattr(remaking, "measure_seam", measured)


def test_takes_and_what_their_sidecars_tell(model: Path, tmp_path: Path) -> None:
    paths = takes_of(model, tmp_path, negative_prompt="music", sampling={"steps": 2})
    assert [path.name for path in paths] == ["rain-seed7.wav", "rain-seed8.wav"]
    told = note(paths[0])
    assert (told["prompt"], told["negative_prompt"], told["seed"]) == ("rain", "music", 7)
    assert told["sampling"]["steps"] == 2
    assert not {"loop", "seam", "edit"} & told.keys()
    plain = takes_of(model, tmp_path / "plain", sampling={"steps": 2})
    assert "negative_prompt" not in note(plain[0])
    assert plain[0].read_bytes() != paths[0].read_bytes()


@pytest.mark.parametrize(
    ("tempo", "samples"),
    [
        (Tempo(bpm=120, bars=1), 32_000),
        (Tempo(bpm=90, bars=1), 42_667),
        (Tempo(bpm=133.7, bars=1, beats_per_bar=3), 21_541),
    ],
)
def test_a_loop_has_its_bars_to_the_sample(
    model: Path, tmp_path: Path, tempo: Tempo, samples: int
) -> None:
    beats = tempo.bars * tempo.beats_per_bar
    assert samples == round(beats * 60 / tempo.bpm * 16000)
    [path] = takes_of(model, tmp_path, loop=True, tempo=tempo, count=1)
    info = soundfile.info(path)
    assert (info.frames, info.samplerate, info.subtype) == (samples, 16000, "PCM_24")
    told = note(path)
    assert (told["loop"], told["samples"]) == (True, samples)
    assert told["tempo"] == tempo.model_dump()
    assert told["seam"]["passes"] == (told["seam"]["score"] <= 1)


@pytest.mark.parametrize(
    ("batch_size", "scores"),  # of seeds 7 to 10; 8 is made thrice, 10 twice
    [
        (1, [0.5, 1.2, 1.1, 0.7, 0.9, 1.4, 0.8]),
        (3, [0.5, 1.2, 0.9, 1.1, 0.7, 1.4, 0.8]),
        (8, [0.5, 1.2, 0.9, 1.4, 1.1, 0.8, 0.7]),
    ],
)
def test_a_loop_whose_seam_is_heard_gets_seeds_of_its_own(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    batch_size: int,
    scores: list[float],
) -> None:
    caplog.set_level(logging.INFO, logger="audiogen")
    judge(monkeypatch, scores)
    paths = takes_of(model, tmp_path, loop=True, count=4, batch_size=batch_size)
    seeds = [7, 8 + 2 * REMAKE_STEP, 9, 10 + REMAKE_STEP]
    assert [note(path)["seed"] for path in paths] == seeds
    assert [path.name for path in paths] == [f"rain-seed{seed}.wav" for seed in seeds]
    assert sorted(record.message for record in caplog.records) == [
        "seed 10 -> 1000010: its seam is heard (rain)",
        "seed 1000008 -> 2000008: its seam is heard (rain)",
        "seed 8 -> 1000008: its seam is heard (rain)",
    ]
    seam = note(paths[1])["seam"]
    assert (seam["score"], seam["passes"]) == (0.7, True)


def test_if_no_seam_passes_the_best_is_kept_and_said(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scores = [2.0, 1.9, 1.8, 1.2, 1.7, 1.6, 1.5, 1.4, 1.3]
    assert len(scores) == MOST_TRIES
    judge(monkeypatch, scores)
    [path] = takes_of(model, tmp_path, loop=True, count=1)
    best = 7 + 3 * REMAKE_STEP
    assert note(path)["seed"] == best
    assert note(path)["seam"]["passes"] is False
    said = f"seed 7: none of 9 takes passes; that of seed {best} is kept, and its seam is heard"
    assert said in caplog.text


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_silent_take_gets_another_seed_and_the_others_keep_theirs(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    batch_size: int,
) -> None:
    caplog.set_level(logging.INFO, logger="audiogen")
    sound = Pipeline.takes
    quiet = {8, 8 + REMAKE_STEP, 10}

    def with_silence(self: Pipeline, requests: Sequence[TakeRequest]) -> list[Tensor]:
        wavs = sound(self, requests)
        gains = [1e-4 if one.seed in quiet else 1.0 for one in requests]
        return [gain * wav for gain, wav in zip(gains, wavs, strict=True)]

    monkeypatch.setattr(Pipeline, "takes", with_silence)
    paths = takes_of(model, tmp_path, count=4, batch_size=batch_size)
    assert [note(path)["seed"] for path in paths] == [7, 8 + 2 * REMAKE_STEP, 9, 10 + REMAKE_STEP]
    assert sorted(record.message for record in caplog.records) == [
        "seed 10 -> 1000010: it is silent (rain)",
        "seed 1000008 -> 2000008: it is silent (rain)",
        "seed 8 -> 1000008: it is silent (rain)",
    ]
    for path in paths:
        assert abs(soundfile.read(path)[0]).max() > 1e-2


def test_if_all_are_silent_one_is_kept_and_said(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sound = Pipeline.takes
    monkeypatch.setattr(Pipeline, "takes", lambda *given: [1e-4 * wav for wav in sound(*given)])
    [path] = takes_of(model, tmp_path, count=1)
    assert note(path)["seed"] == 7
    assert "seed 7: none of 9 takes passes; that of seed 7 is kept, and it is silent" in caplog.text


def test_wrong_requests_are_refused(model: Path, tmp_path: Path) -> None:
    for changes, said in (
        ({"prompts": []}, "at least one"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"tempo": Tempo(bpm=90, bars=1)}, "a tempo is for loops"),
        ({"loop": True, "to_end": True}, "a loop has no end"),
    ):
        with pytest.raises(ValueError, match=said):
            takes_of(model, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [{"bpm": 0.0}, {"bpm": float("nan")}, {"bars": 0}])
def test_wrong_tempi_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error for Tempo"):
        Tempo(**{"bpm": 90.0, "bars": 4, **wrong})


def test_settings_and_lengths_are_checked(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="guidance_scale"):
        takes_of(model, tmp_path, sampling={"guidance_scale": -1.0})
    with pytest.raises(ValueError, match="at least two latent frames"):
        takes_of(model, tmp_path, loop=True, seconds=0.05)
    assert list(tmp_path.iterdir()) == []


def test_controls_are_told_by_the_sidecar(controlled_model: Path, tmp_path: Path) -> None:
    asked = {"brightness": 900.0, "density": 3.0}
    paths = takes_of(controlled_model, tmp_path, controls=asked)
    assert [note(path)["controls"] for path in paths] == [asked, asked]
    plain = takes_of(controlled_model, tmp_path / "plain")
    assert "controls" not in note(plain[0])
    assert plain[0].read_bytes() != paths[0].read_bytes()


def test_a_control_that_the_model_has_not_is_refused(
    controlled_model: Path, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="it has brightness") as caught:
        takes_of(controlled_model, tmp_path / "a", controls={"tempo": 90.0})
    assert len(str(caught.value).splitlines()) <= 4
    with pytest.raises(ConfigError, match="trained without controls"):
        takes_of(model, tmp_path / "b", controls={"brightness": 900.0})
    assert list(tmp_path.iterdir()) == []
