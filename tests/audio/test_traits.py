"""Traits of sounds: each rises with what its words say, and none with loudness."""

import math

import pytest
import torch
from torch import Tensor

from audiogen.audio.dsp import loudest_part
from audiogen.audio.measure.traits import TRAITS, Trait, measure_traits

RATE = 22_050


def tone(hertz: float, seconds: float = 2.0) -> Tensor:
    return 0.3 * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * RATE)) / RATE)[None]


def noise(seconds: float = 2.0) -> Tensor:
    source = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(1, round(seconds * RATE), generator=source)


def bursts(count: int) -> Tensor:
    """Noise that is heard for a tenth of a second each time, out of two."""
    wav = torch.zeros(1, 2 * RATE)
    for number in range(count):
        start = number * 2 * RATE // count
        wav[:, start : start + RATE // 10] = noise(0.1)
    return wav


@pytest.mark.parametrize(
    ("trait", "less", "more"),
    [
        ("brightness", tone(400), tone(3000)),
        ("brightness", tone(400) + 0.1 * noise(), tone(400) + noise()),
        ("density", bursts(2), bursts(8)),
        ("density", bursts(8), noise()),
        ("weight", tone(2000) + 0.1 * tone(100), tone(2000) + tone(100)),
    ],
)
def test_a_trait_rises_with_what_it_is(trait: Trait, less: Tensor, more: Tensor) -> None:
    assert measure_traits(less, RATE)[trait] < measure_traits(more, RATE)[trait] - 0.02


def test_values_are_as_said() -> None:
    found = measure_traits(tone(2000), RATE)
    assert found["brightness"] == pytest.approx(1.0, abs=0.1)  # an octave above 1 kHz
    assert found["density"] == pytest.approx(0.0, abs=0.05)
    assert found["weight"] == -30.0
    quarter = torch.cat([tone(2000, 0.5), torch.zeros(1, round(1.5 * RATE))], dim=1)
    assert measure_traits(quarter, RATE)["density"] == pytest.approx(-6.0, abs=0.1)


def test_loudness_and_channels_do_not_matter() -> None:
    wav = bursts(8) + 0.2 * tone(200)
    plain = measure_traits(wav, RATE)
    assert plain.keys() == set(TRAITS)
    for other in (0.05 * wav, wav.expand(2, -1), -wav):
        assert measure_traits(other, RATE) == pytest.approx(plain, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("wav", [torch.zeros(1, RATE), torch.zeros(2, 0)])
def test_of_silence_nothing_is_said(wav: Tensor) -> None:
    assert measure_traits(wav, RATE) == {}


def test_of_a_click_at_the_end_of_silence_nothing_is_said() -> None:
    wav = torch.zeros(1, 15001)
    wav[0, -1] = 0.002
    assert measure_traits(wav, 16000) == {}


def test_the_loudest_part_is_cut() -> None:
    wav = torch.cat([0.1 * tone(500, 1.0), tone(500, 0.5), 0.1 * tone(500, 1.0)], dim=1)
    part = loudest_part(wav, RATE // 2)
    assert part.shape == (1, RATE // 2)
    assert float(part.square().mean()) == pytest.approx(0.045, rel=0.02)
    assert torch.equal(loudest_part(wav, 10 * RATE), wav)
