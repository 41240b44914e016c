"""Splices: levels in a fade, continuations, and samples that stay."""

import math

import pytest
import torch

from audiogen.takes.splice import (
    FADE_SECONDS,
    append,
    below_full_scale,
    continued,
    crossfade,
    replace_region,
)

RATE = 16_000
FADE = round(FADE_SECONDS * RATE)


def tone(length: int, hz: float = 200.0, start: int = 0) -> torch.Tensor:
    return 0.3 * torch.sin(2 * math.pi * hz * (start + torch.arange(length)) / RATE)[None]


def test_a_fade_between_equal_sounds_changes_nothing_and_noise_keeps_its_level() -> None:
    same = tone(320)
    torch.testing.assert_close(crossfade(same, same), same, atol=1e-6, rtol=0)
    noise = 0.1 * torch.randn(2, 1, 100_000)
    level = crossfade(noise[0], noise[1]).square().mean().sqrt()
    assert float(level) == pytest.approx(0.1, rel=0.02)


def test_a_fade_begins_with_the_old_and_ends_with_the_new_and_stays_in_scale() -> None:
    faded = crossfade(torch.full((1, 1000), 0.9), torch.full((1, 1000), -0.9))
    assert float(faded[0, 0]) > 0.89
    assert float(faded[0, -1]) < -0.89
    loud = torch.sign(torch.randn(2, 1, 1000))
    assert float(crossfade(loud[0], loud[1]).abs().max()) <= 1


@pytest.mark.parametrize("hz", [60.0, 200.0, 441.7])
def test_a_tone_goes_on_in_phase(hz: float) -> None:
    made = continued(tone(8000, hz), 320, RATE)
    torch.testing.assert_close(made, tone(320, hz, start=8000), atol=0.03, rtol=0)


@pytest.mark.parametrize("length", [3, 50, 300, 400, 5000])
def test_any_length_can_be_continued(length: int) -> None:
    assert continued(torch.randn(2, length), 320, RATE).shape == (2, 320)


@pytest.mark.parametrize(("start", "length"), [(0, 1700), (500, 1700), (2300, 1700), (0, 4000)])
def test_outside_of_a_region_nothing_changes(start: int, length: int) -> None:
    wav, new = torch.rand(2, 4000) - 0.5, torch.zeros(2, length)
    made = replace_region(wav, new, start, RATE)
    assert torch.equal(made[:, :start], wav[:, :start])
    assert torch.equal(made[:, start + length :], wav[:, start + length :])
    inner = made[:, start + FADE : start + length - FADE]
    assert not bool(inner.any())
    if start > 0:
        assert bool(made[:, start : start + 100].any())  # it fades within
    else:
        assert not bool(made[:, :100].any())


def test_what_is_appended_leaves_the_sound_as_it_is() -> None:
    wav = tone(8000)
    made = append(wav, torch.zeros(1, 4000), RATE)
    assert torch.equal(made[:, :8000], wav)
    assert float(made.diff(dim=1).abs().max()) < 1.1 * float(wav.diff(dim=1).abs().max())
    assert not bool(made[:, 8000 + FADE :].any())


def test_only_what_is_too_loud_is_lowered() -> None:
    wav = torch.tensor([[0.5, -1.0]])
    assert below_full_scale(wav) is wav
    assert float(below_full_scale(3 * wav).abs().max()) <= 1
