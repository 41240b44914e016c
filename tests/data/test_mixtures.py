"""Mixtures of training sounds: which are mixed, how, and what is said of them."""

import math
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from audiogen.audio.dsp import loudness_lufs
from audiogen.audio.io.files import write_audio
from audiogen.data.loading import mixtures as mixing
from audiogen.data.loading.captions import possible_texts
from audiogen.data.loading.clips import Position
from audiogen.data.loading.examples import LatentDataset
from audiogen.data.loading.latents import LatentItem
from audiogen.data.loading.mixtures import Mixture, mix, plan_mixtures
from audiogen.data.manifest import ManifestRow
from audiogen.types import LatentSpec

RATE = 16_000
SPEC = LatentSpec(
    kind="continuous",
    channels=2,
    vocab_size=None,
    hop_length=256,
    sample_rate=RATE,
    audio_channels=1,
)
FRAMES = 125
"""Of two seconds."""
TONES = {"hum": 500, "beep": 2000, "hiss": 5000}


def row(label: str, number: int = 0, seconds: float = 2.0) -> ManifestRow:
    return ManifestRow(
        path=f"{label or 'nameless'}/{number}.wav",
        seconds=seconds,
        sample_rate=RATE,
        channels=1,
        prompt=label,
        label=label,
        split="train",
    )


def tone(hertz: float, seconds: float, level: float = 0.1) -> Tensor:
    return level * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * RATE)) / RATE)[None]


def level_db(wav: Tensor, hertz: float) -> float:
    """Of one tone in a sound."""
    spectrum = torch.fft.rfft(wav[0] * torch.hann_window(wav.shape[1])).abs().square()
    middle = round(hertz / RATE * wav.shape[1])
    near = spectrum[middle - 3 : middle + 4].sum() / wav.shape[1] ** 2
    return 10 * math.log10(max(float(near), 1e-12))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Tones of a label each, at levels that are far apart."""
    for place, (label, hertz) in enumerate(TONES.items()):
        write_audio(tmp_path / label / "0.wav", tone(hertz, 2.0, 0.2 / 5**place), RATE)
        write_audio(tmp_path / label / "1.wav", tone(hertz, 0.5), RATE)
        late = torch.cat([torch.zeros(1, RATE), tone(hertz, 1.0)], dim=1)
        write_audio(tmp_path / label / "2.wav", late, RATE)
    return tmp_path


def mixture(joint: str, first: ManifestRow, second: ManifestRow, number: int = 0) -> Mixture:
    assert joint in ("and", "then")
    kind: Literal["and", "then"] = "and" if joint == "and" else "then"
    return Mixture(first=first, second=second, joint=kind, number=number, seed=0)


def test_each_labelled_sound_is_mixed_with_one_of_another_label() -> None:
    rows = [row(label, number) for label in ("a", "b", "c") for number in range(20)]
    nameless = row("", 99)
    planned = plan_mixtures([*rows, nameless], seed=1)
    assert [one.first for one in planned] == rows
    assert all(one.second.label not in (one.first.label, "") for one in planned)
    assert Counter(one.joint for one in planned) == {"and": 30, "then": 30}
    assert min(Counter(one.second.label for one in planned).values()) > 10
    assert len({one.row.path for one in planned}) == 60
    assert plan_mixtures([*rows, nameless], seed=1) == planned
    assert plan_mixtures(rows, seed=2) != planned
    assert plan_mixtures([row("a", number) for number in range(9)], seed=1) == []


def test_their_number_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixing, "MOST_MIXTURES", 7)
    rows = [row(label, number) for label in ("a", "b") for number in range(20)]
    planned = plan_mixtures(rows, seed=0)
    assert 0 < len(planned) <= 7
    assert {one.first.label for one in planned} == {"a", "b"}


def test_it_has_a_caption_and_no_label() -> None:
    both = mixture("and", row("rain"), row("bell")).row
    assert (both.prompt, both.label, both.split) == ("rain and bell", "", "train")
    assert mixture("then", row("rain"), row("bell")).row.prompt == "rain, then bell"
    assert possible_texts([both], words=True) == {"", "rain and bell"}


@pytest.mark.parametrize("number", range(4))
def test_both_are_heard_as_loud_to_a_few_decibels(folder: Path, number: int) -> None:
    wav = mix(folder, mixture("and", row("hum"), row("beep"), number), SPEC, FRAMES)
    assert wav.shape == (1, 2 * RATE)
    # -23 LUFS are heard of 2 kHz at a lower level than of 500 Hz.
    alone = [level_db(tone(TONES[label], 2.0), TONES[label]) for label in ("hum", "beep")]
    weighting = loudness_lufs(tone(2000, 2.0), RATE) - loudness_lufs(tone(500, 2.0), RATE)
    assert alone[0] == pytest.approx(alone[1], abs=0.5)
    apart = level_db(wav, 500) - level_db(wav, 2000) - weighting
    assert abs(apart) <= mixing.LEVEL_DB + 0.3
    assert loudness_lufs(wav, RATE) == pytest.approx(-23, abs=0.2)


def test_one_comes_after_the_other(folder: Path) -> None:
    wav = mix(folder, mixture("then", row("hum"), row("hiss")), SPEC, FRAMES)
    assert wav.shape[1] == pytest.approx(2 * RATE, abs=1)
    halves = wav[:, : RATE - 800], wav[:, RATE + 800 :]
    for half, here, absent in zip(halves, ("hum", "hiss"), ("hiss", "hum"), strict=True):
        assert level_db(half, TONES[here]) > level_db(half, TONES[absent]) + 40
    steps = wav[0, RATE - 1600 : RATE + 1600].reshape(-1, 160).square().mean(dim=1)
    assert float(steps.min()) > 0.2 * float(steps.max())  # no gap between them


def test_pauses_are_not_what_is_taken(folder: Path) -> None:
    wav = mix(folder, mixture("then", row("hum", 2), row("beep", 2)), SPEC, FRAMES)
    assert level_db(wav[:, 1600 : RATE - 800], 500) > -40
    assert level_db(wav[:, RATE + 800 :], 2000) > -40


def test_a_short_sound_lies_within_a_long_one(folder: Path) -> None:
    wav = mix(folder, mixture("and", row("hum", 1, 0.5), row("beep")), SPEC, FRAMES)
    assert wav.shape == (1, 2 * RATE)
    there = [level_db(part, 500) > -50 for part in wav.split(RATE // 10, dim=1)]
    assert 5 <= sum(there) <= 7
    turn = mix(folder, mixture("then", row("hum", 1, 0.5), row("beep")), SPEC, FRAMES)
    assert turn.shape[1] < 2 * RATE


def test_a_mixture_is_a_pure_function_of_its_number(folder: Path) -> None:
    first, again, other = (
        mix(folder, mixture("and", row("hum"), row("beep"), number), SPEC, FRAMES)
        for number in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_share_of_the_examples_are_mixtures_and_each_comes_up() -> None:
    def item(one: ManifestRow, value: float) -> LatentItem:
        return LatentItem(latents=torch.full((2, 20), value), num_frames=20, row=one)

    files = [item(row("rain", number), 0.0) for number in range(40)]
    mixed = [
        item(mixture("and", row("rain"), row("bell"), number).row, 1.0 + number)
        for number in range(30)
    ]
    dataset, again = (
        LatentDataset(files, window_frames=20, frame_rate=20, seed=0, others=[(mixed, 0.2)])
        for _ in range(2)
    )
    assert len(dataset) == 50
    places = [Position(epoch, index) for epoch in range(30) for index in range(50)]
    examples = [dataset[place] for place in places]
    for place, example in zip(reversed(places), reversed(examples), strict=True):
        same = again[place]
        assert (same.prompt, float(same.latents[0, 0])) == (
            example.prompt,
            float(example.latents[0, 0]),
        )
    prompts = Counter(example.prompt for example in examples)
    assert prompts["rain and bell"] == 30 * 10
    assert {float(one.latents[0, 0]) for one in examples} == {*map(float, range(31))}
    assert dataset.name_of(Position(0, 45)).startswith("mixture ")
    assert len(LatentDataset(files, window_frames=20, frame_rate=20, seed=0)) == 40
