"""Pitch, rhythm, attacks, width and brilliance of sounds that are known."""

import math

import pytest
import torch
from torch import Tensor

from audiogen.audio.measure.character import MAX_WAVER, high_band_db, rhythm, voicing, width_db

RATE = 44_100


def clock(seconds: float) -> Tensor:
    return torch.arange(round(seconds * RATE), dtype=torch.float64) / RATE


def voice(hertz: float, seconds: float = 4.0) -> Tensor:
    phase = 2 * math.pi * hertz * clock(seconds)
    return 0.1 * sum(((k * phase).sin() / k for k in range(2, 6)), phase.sin()).float()[None]


def hiss(seconds: float = 4.0, channels: int = 1) -> Tensor:
    return 0.1 * torch.randn(channels, round(seconds * RATE))


def ticks(places: list[float], seconds: float = 6.0, slow: float = 0.0) -> Tensor:
    """Bursts at times in seconds, which take `slow` seconds to come in."""
    wav = 1e-4 * torch.randn(1, round(seconds * RATE))
    time = clock(0.1 + slow)
    shape = (-time / 0.01).exp() if slow == 0 else (time / slow).clamp_max(1) * (slow + 0.1 - time)
    burst = 0.3 * torch.randn(len(time)) * (shape / shape.max()).float()
    for place in places:
        start = round(place * RATE)
        wav[0, start : start + len(burst)] += burst[: wav.shape[1] - start]
    return wav


def test_a_voice_is_periodic_and_noise_is_not() -> None:
    assert voicing(voice(220), RATE)[0] > 0.97
    assert voicing(hiss(), RATE)[0] < 0.3
    both = torch.cat([voice(220), 1e-3 * hiss()], dim=1)  # what is quiet hardly counts
    assert voicing(both, RATE)[0] > 0.95
    assert 0.5 < voicing(voice(220) + hiss(), RATE)[0] < 0.9
    assert voicing(torch.zeros(1, RATE), RATE) == (0, None)
    assert voicing(torch.zeros(1, 3), RATE) == (0, None)


def sung(cents: Tensor) -> Tensor:
    """Two harmonics around 300 Hz whose pitch moves by `cents` (T,)."""
    hertz = 300 * (cents.double() / 1200).exp2()
    phase = 2 * math.pi * (hertz / RATE).cumsum(dim=0)
    return 0.1 * (phase.sin() + 0.5 * (2 * phase).sin()).float()[None]


def test_a_pitch_that_holds_or_glides_does_not_waver_and_one_that_trembles_does() -> None:
    time = clock(4)
    still = voicing(sung(0 * time), RATE)[1]
    glide = voicing(sung(300 * time), RATE)[1]
    trembling = voicing(sung(100 * (2 * math.pi * 5 * time).sin()), RATE)[1]
    wild = voicing(sung(700 * (time * 6 % 2).floor()), RATE)[1]
    assert still is not None
    assert glide is not None
    assert trembling is not None
    assert wild is not None
    assert still < 0.01
    assert glide < 0.05
    assert 0.3 < trembling < 1.0
    assert trembling < wild < MAX_WAVER
    assert voicing(hiss(), RATE)[1] is None
    assert voicing(voice(220)[:, : RATE // 4], RATE)[1] is None  # six frames


def test_a_clock_is_regular_and_rain_is_not() -> None:
    even = [0.3 + 0.5 * number for number in range(11)]
    generator = torch.Generator().manual_seed(4)
    uneven = sorted((0.2 + 5.6 * torch.rand(11, generator=generator)).tolist())
    regular, _ = rhythm(ticks(even), RATE)
    chance, _ = rhythm(ticks(uneven), RATE)
    noise, _ = rhythm(hiss(6.0), RATE)
    assert regular > 0.7
    assert regular > 1.5 * chance
    assert noise < 0.3
    assert rhythm(torch.zeros(1, RATE), RATE) == (0.0, 0.0)
    assert rhythm(hiss(0.2), RATE)[0] == 0  # too short for a rhythm


def test_a_slow_attack_is_less_sharp() -> None:
    even = [0.5 + 0.7 * number for number in range(7)]
    _, fast = rhythm(ticks(even), RATE)
    _, slow = rhythm(ticks(even, slow=0.1), RATE)
    assert fast > 1.5 * slow > 0


def test_width_is_side_over_mid() -> None:
    mono, wide = hiss(), hiss(channels=2)
    assert width_db(mono) is None
    assert width_db(mono.expand(2, -1)) == -100
    assert width_db(wide) == pytest.approx(0, abs=0.2)
    mid, side = mono, 0.1 * hiss()
    assert width_db(torch.cat([mid + side, mid - side])) == pytest.approx(-20, abs=0.2)
    assert width_db(torch.cat([mono, -mono])) == 100


def test_brilliance_is_what_lies_above_eleven_kilohertz() -> None:
    assert high_band_db(hiss(), RATE) == pytest.approx(10 * math.log10(0.5011), abs=0.1)
    assert high_band_db(voice(200), RATE) == pytest.approx(-100, abs=40)
    assert high_band_db(hiss(), 22_050) is None
    assert high_band_db(torch.zeros(1, RATE), RATE) == -100
