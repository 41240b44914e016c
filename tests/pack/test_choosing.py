"""Best of several: the best candidate is kept, always the same, and one is no choice at all."""

import hashlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audiogen import remaking
from audiogen.audio.io.files import read_audio
from audiogen.judge.judge import Judge
from audiogen.model_folder import read_model
from audiogen.pack import choosing
from audiogen.pack.choosing import CANDIDATE_STEP, Chooser, clipped_share, soundness
from audiogen.pack.curation.cards import make_card
from audiogen.pack.curation.choices import Choice, Selection, write_selection
from audiogen.pack.job import read_job, take_path
from audiogen.pack.make import Done, Worker, make_pack
from audiogen.pack.redo import RedoRequest, redo_pack, redo_take
from audiogen.pipeline import Pipeline
from audiogen.takes.making import Made
from audiogen.takes.take import Candidate, Take

RATE = 16_000
LIST = """\
defaults: {count: 2, seconds: 0.6-0.9, best_of: 3}
prompts:
  - rain on a roof
  - {prompt: hum, count: 3}
  - {prompt: bells, loop: true, bpm: 480, bars: 1, best_of: 2}
  - {prompt: wind, best_of: 1}
"""
pytestmark = pytest.mark.usefixtures("fake_text")


def tone(hz: float, seconds: float = 1.0) -> torch.Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hz * torch.arange(round(seconds * RATE)) / RATE)[None]


def hiss(seed: int, seconds: float = 1.0) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(1, round(seconds * RATE), generator=source)


@pytest.fixture(scope="module")
def judge() -> Judge:
    """One that knows hum and rain."""
    wavs = [*(tone(100 + 10 * n) for n in range(4)), *(hiss(n) for n in range(4))]
    return Judge.fit(wavs, ["hum"] * 4 + ["rain"] * 4, RATE, num_versions=1)


@pytest.fixture
def judged(make_model: Callable[..., Path], judge: Judge) -> Path:
    """A small model with that judge."""
    run = make_model()
    Pipeline(replace(read_model(run), judge=judge)).save_pretrained(run / "generator" / "model")
    return run


def make(model: Path, listed: Path, out: Path, **changes: Any) -> Done:
    asked = {"options": {}, "model": model, "out": out, "batch_size": 4, "worker": Worker()}
    return make_pack(listed, **{**asked, **changes})


def digests(pack: Path) -> dict[str, str]:
    files = sorted((pack / "takes").iterdir())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def note(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return found


# The choice


def sounding(monkeypatch: pytest.MonkeyPatch, sounds: list[torch.Tensor]) -> None:
    """Let the candidates be these, in the order of their seeds."""

    def made(_: object, wanted: list[Take]) -> list[Made]:
        return [(one, sounds[one.seed // CANDIDATE_STEP + one.seed % 10]) for one in wanted]

    monkeypatch.setattr(choosing, "make_takes", made)


def wanted(prompt: str, best_of: int, seed: int = 0) -> Take:
    return Take(prompt=prompt, seed=seed, seconds=1.0, best_of=best_of)


def candidates(take: Take) -> tuple[Candidate, ...]:
    assert take.choosing is not None
    assert take.choosing.kept.seed == take.seed
    return take.choosing.candidates


@pytest.mark.parametrize(("prompt", "best"), [("rain", 1), ("hum", 2)])
def test_the_candidate_that_fits_the_prompt_is_kept(
    model: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch, prompt: str, best: int
) -> None:
    sounding(monkeypatch, [0.5 * hiss(50) + tone(125), hiss(51), tone(135), tone(130) * 1e-4])
    chooser = Chooser(Pipeline(replace(read_model(model), judge=judge)))
    [(take, _)] = chooser.choose([wanted(prompt, 4)], batch_size=3)
    scores = [one.score for one in candidates(take)]
    assert scores.index(max(scores)) == best
    assert take.seed == best * CANDIDATE_STEP
    assert scores[3] == 0  # silent
    assert take.choosing is not None
    assert take.choosing.label == prompt


def test_what_no_label_is_like_is_chosen_by_texture(
    model: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clipped = (8 * tone(130)).clamp(-0.8, 0.8)
    sounding(monkeypatch, [clipped, torch.cat([hiss(1, 0.5), torch.zeros(1, 8000)], 1), hiss(2)])
    chooser = Chooser(Pipeline(replace(read_model(model), judge=judge)))
    [(take, _)] = chooser.choose([wanted("Bolivia", 3)], batch_size=8)
    assert take.seed == 2 * CANDIDATE_STEP
    assert [one.prompt for one in candidates(take)] == [None] * 3
    assert [one.score for one in candidates(take)] == [one.texture for one in candidates(take)]
    assert candidates(take)[0].texture == 0
    assert candidates(take)[1].texture == pytest.approx(0.5, abs=0.01)
    assert caplog.text.count("'Bolivia' names no sound that the recogniser knows") == 1


def test_a_take_that_is_nearly_another_of_its_prompt_loses(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swell = torch.linspace(-3, 3, RATE).exp() / 20
    sounding(monkeypatch, [hiss(1) * swell, hiss(1) * swell / 2, hiss(3) * swell.flip(0)])
    chooser = Chooser(Pipeline.from_pretrained(model))
    both = chooser.choose([wanted("a", 2), wanted("a", 2, seed=1)], batch_size=8)
    (first, _), (second, _) = both
    assert first.seed == 0  # of equals the first
    assert second.seed == 1 + CANDIDATE_STEP
    near, other = (one.texture for one in candidates(second))
    assert near == pytest.approx(0, abs=0.05)
    assert other > 0.9


def test_soundness_tells_whole_sounds_from_broken_ones() -> None:
    assert soundness(hiss(1), RATE) == 1
    assert soundness(tone(440), RATE) == 1
    assert soundness(torch.zeros(1, RATE), RATE) == 0
    assert clipped_share(tone(440)) == 0
    for level in (1.2, 1.5, 4.0):  # of the sine's peaks, so much is cut
        share = 1 - 2 / np.pi * np.arcsin(1 / level)
        cut = (level * tone(441) / 0.3).clamp(-1, 1)
        assert clipped_share(cut) == pytest.approx(share, abs=0.04)
    one_side = torch.cat([tone(440), (1.5 * tone(441) / 0.3).clamp(-1, 1)])
    assert 0 < clipped_share(one_side) < clipped_share(one_side[1:])


# Packs


def test_a_pack_is_the_same_whatever_the_batches_and_stops(
    judged: Path, listed: Path, tmp_path: Path
) -> None:
    done = make(judged, listed, tmp_path / "one")
    assert (len(done.takes), done.there_before) == (9, 0)
    expected = digests(tmp_path / "one")
    for path in sorted((tmp_path / "one" / "takes").glob("*.wav"))[::2]:
        path.unlink()
    again = make(judged, listed, tmp_path / "one")
    assert (len(again.takes), again.there_before) == (9, 4)
    assert digests(tmp_path / "one") == expected
    make(judged, listed, tmp_path / "other", batch_size=1)
    barrier = threading.Barrier(2, timeout=120)
    workers = [Worker(rank=n, count=2, wait=lambda: barrier.wait() and None) for n in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: make(judged, listed, tmp_path / "two", worker=one), workers))
    assert digests(tmp_path / "two") == expected
    for take in done.takes:
        one, other = (take_path(tmp_path / name, take) for name in ("one", "other"))
        assert note(one)["seed"] == note(other)["seed"]
        assert float((read_audio(one)[0] - read_audio(other)[0]).abs().max()) <= 1e-5


def test_the_sidecar_tells_all_candidates_and_the_take_is_made_again_by_it(
    judged: Path, judge: Judge, listed: Path, tmp_path: Path
) -> None:
    pack, seeds = tmp_path / "pack", set()
    for take in make(judged, listed, pack).takes:
        path, told = take_path(pack, take), note(take_path(pack, take))
        assert redo_take(path, judged, None).difference == 0
        if take.prompt == "wind":
            assert (take.best_of, "choosing" in told) == (1, False)
            assert make_card(pack, take).facts["score"] is None
            continue
        found = told["choosing"]
        assert told["best_of"] == take.best_of == len(found["candidates"])
        kept = found["candidates"][found["chosen"]]
        assert kept["score"] == max(one["score"] for one in found["candidates"])
        assert kept["seed"] == told["seed"]
        starts = [one["seed"] // CANDIDATE_STEP for one in found["candidates"]]
        assert starts == list(range(take.best_of))
        assert told["seed"] % 1_000_000 == take.seed
        label = {"rain on a roof": "rain", "hum": "hum"}.get(take.prompt)
        assert found["label"] == label
        if label is not None:
            wav = read_audio(path)[0]
            assert kept["prompt"] == pytest.approx(judge.probabilities(wav)[label], abs=2e-3)
        facts = make_card(pack, take).facts
        assert facts["score"]["score"] == kept["score"]
        seeds.add(told["seed"] // CANDIDATE_STEP)
    assert len(seeds) > 1  # not always the first
    kept_take = read_job(pack)[0]
    write_selection(pack, Selection(takes={kept_take.file: Choice(status="keep")}))
    [finer] = redo_pack(pack, RedoRequest(steps=6), Worker()).takes
    assert (finer.best_of, finer.seed) == (1, note(take_path(pack, kept_take))["seed"])


def test_best_of_one_is_no_choice(model: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text("prompt,count,seconds\nrain,2,0.6\n", encoding="utf-8")
    make(model, listed, tmp_path / "none")
    make(model, listed, tmp_path / "one", options={"best_of": 1})
    assert digests(tmp_path / "one") == digests(tmp_path / "none")
    assert (tmp_path / "one" / "job.jsonl").read_bytes() == (
        tmp_path / "none" / "job.jsonl"
    ).read_bytes()
    done = make(model, listed, tmp_path / "one", options={"best_of": 2})
    assert (len(done.takes), done.there_before) == (2, 0)  # another choice is another take
    assert len(read_job(tmp_path / "one")) == 4


def test_a_model_without_a_recogniser_says_so_once(
    model: Path, listed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = make(model, listed, tmp_path / "pack")
    assert caplog.text.count("small: the model has no recogniser") == 1
    found = note(take_path(tmp_path / "pack", done.takes[0]))["choosing"]
    assert found["judge"] == ""
    assert {one["prompt"] for one in found["candidates"]} == {None}


def test_loops_are_made_again_between_the_seeds_of_candidates() -> None:
    assert remaking.MOST_TRIES * remaking.REMAKE_STEP < CANDIDATE_STEP
