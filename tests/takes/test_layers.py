"""Layers: they add up to the sound, each holds what it is named for, and those of loops loop."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from torch import Tensor

from audiogen.audio.io.files import read_audio, write_audio
from audiogen.takes.layers import split, split_layers

RATE = 22_050


def clock(seconds: float = 2.0) -> Tensor:
    return torch.arange(round(seconds * RATE)) / RATE


def tone(hz: float) -> Tensor:
    return 0.3 * torch.sin(2 * math.pi * hz * clock())[None]


def clicks() -> Tensor:
    wav = torch.zeros(1, 2 * RATE)
    wav[:, RATE // 8 :: RATE // 4] = 0.9
    return wav


def energy(wav: Tensor) -> float:
    return float(wav.square().sum())


@pytest.mark.parametrize("by", ["hpss", "bands"])
@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("seconds", [0.01, 2.0])
def test_layers_read_back_add_up_to_the_file(
    by: Any, loop: bool, seconds: float, tmp_path: Path
) -> None:
    file = tmp_path / "a.wav"
    wav = (0.5 * torch.randn(2, round(seconds * RATE))).clamp(-1, 1)  # layers beyond full scale
    told = {"prompt": "rain", "seed": 1, "seconds": seconds, "loop": loop}
    write_audio(file, wav, RATE, sidecar=told)
    before = file.read_bytes()
    paths = split(file, by=by, out=tmp_path / "layers")
    assert len(paths) == 3
    total = torch.stack([read_audio(path)[0] for path in paths]).sum(dim=0)
    assert float((total - read_audio(file)[0]).abs().max()) < 1e-4
    assert soundfile.info(paths[0]).subtype == "FLOAT"
    assert file.read_bytes() == before
    note = json.loads(paths[0].with_suffix(".json").read_text())
    assert note["prompt"] == "rain"
    assert note["layer"]["file"] == "a.wav"
    assert len({*split(file, by=by, out=tmp_path / "layers"), *paths}) == 6  # none overwritten


def test_tones_are_harmonic_and_clicks_percussive() -> None:
    mixed = tone(440) + clicks()
    layers = split_layers(mixed, RATE)
    assert list(layers) == ["harmonic", "percussive", "residual"]
    inside = slice(RATE // 4, -RATE // 4)
    error = energy((layers["harmonic"] - tone(440))[:, inside]) / energy(tone(440)[:, inside])
    assert error < 0.05
    error = energy((layers["percussive"] - clicks())[:, inside]) / energy(clicks()[:, inside])
    assert error < 0.3


def test_bands_hold_their_frequencies() -> None:
    layers = split_layers(tone(80) + tone(630) + tone(6000), RATE, by="bands")
    inside = slice(RATE // 4, -RATE // 4)
    for hz, layer in zip((80, 630, 6000), layers.values(), strict=True):
        assert energy((layer - tone(hz))[:, inside]) < 1e-3 * energy(tone(hz)[:, inside])


@pytest.mark.parametrize("by", ["hpss", "bands"])
def test_layers_of_a_loop_do_not_depend_on_where_it_begins(by: Any) -> None:
    wav, shift = 0.1 * torch.randn(1, 43 * 1024) + 0.2, 20 * 1024  # whole hops
    here = split_layers(wav, RATE, by=by, ring=True)
    there = split_layers(wav.roll(shift, dims=1), RATE, by=by, ring=True)
    open_ended = split_layers(wav.roll(shift, dims=1), RATE, by=by)
    for name, layer in here.items():
        wanted = layer.roll(shift, dims=1)
        assert energy(there[name] - wanted) < 1e-4 * energy(wanted)
        assert energy(open_ended[name] - wanted) > 10 * energy(there[name] - wanted)


FACTS = {
    "prompt": "rain",
    "seed": 7,
    "seconds": 2.0,
    "loop": True,
    "model": "diffusion",
    "licences": {"CC-BY-4.0": 3},
    "i_own_these": True,
}


@pytest.mark.parametrize("change", ["other", "shorter", "louder", "other rate"])
def test_layers_of_a_foreign_sound_have_no_facts_of_the_take_whose_name_it_has(
    change: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "a.wav"
    write_audio(file, tone(440), RATE, sidecar=FACTS)
    own, _ = read_audio(file)
    foreign = {"other": clicks(), "shorter": own[:, :-9], "louder": 1.5 * own, "other rate": own}
    rate = 2 * RATE if change == "other rate" else RATE
    write_audio(file, foreign[change], rate)
    for path in split(file, by="bands"):
        note = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert note["prompt"] == ""
        assert note["seed"] == 0
        assert not note.keys() & {"loop", "model", "licences", "i_own_these"}
        assert note["layer"]["file"] == "a.wav"
    [warning] = caplog.messages
    assert warning.startswith("a.wav: not the sound that its JSON file tells of")


def test_layers_of_the_take_itself_have_its_facts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "a.wav"
    write_audio(file, tone(440), RATE, sidecar=FACTS)
    for path in split(file, by="bands"):
        note = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert FACTS.items() <= note.items()
    assert not caplog.messages


def test_a_sidecar_that_is_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    write_audio(file, tone(440), RATE)
    file.with_suffix(".json").write_text("[1]")
    with pytest.raises(ValueError, match=r"a\.json"):
        split(file)
    with pytest.raises(ValueError, match="hpss or bands"):
        split_layers(tone(440), RATE, by="demucs")  # type: ignore[arg-type]
