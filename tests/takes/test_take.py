"""A take as a file and as a type: what is written is read back, and what is none is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiogen.audio.io.files import read_audio
from audiogen.audio.loops import measure_seam
from audiogen.audio.measure.measures import measure_sound
from audiogen.generators import ODESamplingConfig, TokenSamplingConfig
from audiogen.take_request import TakeRequest, Tempo, Variation
from audiogen.takes.take import (
    Batch,
    Candidate,
    Choosing,
    Edit,
    Export,
    Layer,
    SourceFile,
    Take,
    amend_take,
    read_take,
    write_take,
)

RATE = 16_000


def everything() -> Take:
    """A take with each of its facts."""
    wav = 0.1 * torch.randn(1, RATE)
    source = SourceFile(file="a.wav", sha256="ab" * 32, changes=("resampled",))
    return Take(
        prompt="rain, 雨",
        seconds=1.0,
        seed=7,
        sampling=TokenSamplingConfig(temperature=(1.0, 0.5), passes=(2,)),
        negative_prompt="music",
        controls={"brightness": 900.0, "key": "Amin"},
        loop=True,
        tempo=Tempo(bpm=90.5, bars=2, beats_per_bar=3),
        variation=Variation(from_seed=3, amount=0.25),
        transpose=-2.5,
        rate=48_000,
        label="rain",
        file="rain-seed7",
        run="runs/x",
        parent="rain-seed6",
        best_of=2,
        asked_seed=5,
        model="small",
        model_digest="0" * 16,
        licences={"CC0-1.0": 4},
        licence_policy="commercial",
        i_own_these=True,
        codec_licence="MIT",
        made_with={"torch": "2", "device": "cpu"},
        sample_rate=RATE,
        samples=RATE,
        seam=measure_seam(wav, RATE),
        batch=Batch(place=1, takes=(("wind", 6, 1.0), ("rain, 雨", 7, 1.0))),
        choosing=Choosing(
            chosen=0, candidates=(Candidate(seed=7, score=0.5, texture=1.0, prompt=None),)
        ),
        edit=Edit(operation="vary", sources=(source,)),
        layer=Layer(file="a.wav", sha256="cd" * 32, by="bands", layer="low"),
        export=Export(file="a.wav", note="=1", star=True),
        measures=measure_sound(wav, RATE),
        samples_sha256="ef" * 32,
    )


def test_every_fact_of_a_take_is_read_back_as_it_was() -> None:
    take = everything()
    tree = json.loads(json.dumps(take.to_tree()))
    assert Take.model_fields.keys() - tree.keys() == {"to_end"}  # which no loop has
    assert Take.from_tree(tree, "here") == take


def test_what_is_as_by_default_is_left_out_of_the_file_but_not_of_its_settings() -> None:
    tree = Take(prompt="", seconds=1, seed=0, sampling=ODESamplingConfig()).to_tree()
    assert tree.keys() == {"prompt", "seconds", "seed", "sampling"}
    assert tree["sampling"] == ODESamplingConfig().model_dump(mode="json")


def test_a_file_has_what_was_made_and_not_where_its_pack_lies(tmp_path: Path) -> None:
    path, take = tmp_path / "a.wav", everything()
    wav = 0.1 * torch.randn(1, RATE // 2)
    write_take(path, wav, take)
    found = read_take(path)
    assert found is not None
    assert (found.samples, found.file, found.run) == (RATE // 2, "", "")
    assert found.request == take.request
    assert found.samples_sha256 != take.samples_sha256
    amend_take(path, label="wind", note="of another program")
    again = read_take(path)
    assert again is not None
    assert (again.label, again.samples_sha256) == ("wind", found.samples_sha256)
    assert json.loads(path.with_suffix(".json").read_text())["note"] == "of another program"
    assert float((read_audio(path)[0] - wav).abs().max()) < 1e-6


def test_a_sound_without_a_file_beside_it_is_no_take(tmp_path: Path) -> None:
    assert read_take(tmp_path / "a.wav") is None
    with pytest.raises(ValueError, match="no JSON file beside it"):
        amend_take(tmp_path / "a.wav", label="x")
    with pytest.raises(ValueError, match="at its sample rate"):
        write_take(tmp_path / "a.wav", torch.zeros(1, 9), Take(prompt="", seconds=1, seed=0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "{",
        "[]",
        '"take"',
        "{}",
        {"seed": "7"},
        {"seed": -1},
        {"seed": True},
        {"seconds": None},
        {"prompt": 7},
        {"controls": {"brightness": True}},
        {"sampling": {"type": "magic"}},
        {"tempo": {"bpm": 90, "bars": 0}},
        {"tempo": {"bpm": 90, "bars": 1}, "loop": False},
        {"loop": True, "to_end": True},
        {"rate": 7},
        {"batch": {"place": 0, "takes": [["a", 1]]}},
        {"choosing": {"chosen": 1, "candidates": []}},
        {"edit": {"operation": "boil", "sources": []}},
    ],
)
def test_what_is_no_take_is_refused_in_four_lines(tmp_path: Path, wrong: Any) -> None:
    tree = {"prompt": "", "seconds": 1.0, "seed": 0}
    text = wrong if isinstance(wrong, str) else json.dumps({**tree, **wrong})
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.json: not the JSON file of a take") as caught:
        read_take(tmp_path / "a.wav")
    assert len(str(caught.value).splitlines()) <= 4


@given(
    prompt=st.text(),
    seconds=st.floats(0.01, 1e4),
    seed=st.integers(0, 1 << 40),
    loop=st.booleans(),
    amount=st.none() | st.floats(0, 1),
)
def test_takes_of_equal_requests_have_one_key_and_others_another(
    prompt: str, seconds: float, seed: int, loop: bool, amount: float | None
) -> None:
    variation = None if amount is None else Variation(from_seed=seed, amount=amount)
    asked = TakeRequest(prompt=prompt, seconds=seconds, seed=seed, loop=loop, variation=variation)
    take = Take(**dict(asked), model_digest="a")
    assert take.request == asked
    assert take.key == take.model_copy(update={"label": "x", "samples": 3, "file": "y"}).key
    for change in ({"seed": seed + 1}, {"prompt": prompt + "x"}, {"loop": not loop}):
        assert take.model_copy(update=change).key != take.key
    assert take.model_copy(update={"model_digest": "b"}).key != take.key


def test_a_batch_names_its_own_take() -> None:
    own = TakeRequest(prompt="b", seconds=2.0, seed=5)
    batch = Batch(place=1, takes=(("a", 4, 1.0), ("b", 5, 2.0)))
    first, second = batch.requests(own)
    assert (first.prompt, first.seed, first.seconds) == ("a", 4, 1.0)
    assert second == own
    for place in (0, 2):
        with pytest.raises(ValueError, match="no take of this prompt"):
            batch.model_copy(update={"place": place}).requests(own)
