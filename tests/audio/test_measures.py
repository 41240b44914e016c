"""Numbers about sounds against closed forms: tones, noise, beating, clicks, chords, silence."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from numba.np.ufunc.gufunc import GUFunc
from torch import Tensor

from audiogen.audio.dsp import resample, stereo_correlation
from audiogen.audio.measure import measures
from audiogen.audio.measure.measures import (
    measure_some,
    measure_sound,
    true_peak_db,
)

RATE = 48_000


def clock(seconds: float) -> Tensor:
    return torch.arange(round(seconds * RATE), dtype=torch.float64) / RATE


def tone(hz: float, seconds: float = 2.0, amplitude: float = 0.5) -> Tensor:
    return (amplitude * torch.sin(2 * math.pi * hz * clock(seconds)))[None].float()


def hiss(seconds: float = 2.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(1, round(seconds * RATE), generator=generator)


def clicks(bpm: float, seconds: float = 8.0) -> Tensor:
    wav = torch.zeros(1, round(seconds * RATE))
    burst = 0.5 * hiss(0.006, seed=1) / 0.1 * torch.exp(-torch.arange(288) / 60)
    for number in range(int(seconds * bpm / 60)):
        start = round(number * 60 / bpm * RATE)
        wav[:, start : start + 288] = burst[:, : wav.shape[1] - start]
    return wav.clamp(-1, 1)


def test_a_tone() -> None:
    found = measure_sound(tone(1000), RATE)
    assert found.brightness_hz == pytest.approx(1000, rel=0.05)
    assert found.true_peak_db == pytest.approx(20 * math.log10(0.5), abs=0.05)
    assert found.loudness_lufs == pytest.approx(-9.03, abs=0.1)  # -3.01 for full scale at 1 kHz
    assert found.tonality > 0.95
    assert found.stationarity > 0.99
    assert found.roughness < 0.01
    assert (found.key, found.tempo_bpm, found.stereo_correlation) == (None, None, None)


@pytest.mark.parametrize("hertz", [110.0, 440.0, 1300.0])
def test_a_pitch_is_that_of_the_loudest_of_what_is_periodic(hertz: float) -> None:
    voice = sum(tone(k * hertz) / k for k in range(1, 6)) / 3
    assert measure_sound(voice, RATE).pitch_hz == pytest.approx(hertz, rel=0.005)
    sometimes = torch.cat([voice[:, : RATE // 2], 0.05 * hiss(2.0)], dim=1)
    assert measure_sound(sometimes, RATE).pitch_hz == pytest.approx(hertz, rel=0.02)
    assert measure_sound(hiss(), RATE).pitch_hz is None
    assert measure_sound(torch.cat([0.02 * voice, hiss()], dim=1), RATE).pitch_hz is None
    assert measure_sound(torch.zeros(1, RATE), RATE).pitch_hz is None


def test_noise_of_any_colour() -> None:
    white = measure_sound(hiss(), RATE)
    assert white.brightness_hz == pytest.approx(RATE / 4, rel=0.01)  # the middle of the spectrum
    assert white.stationarity > 0.85
    assert (white.key, white.tempo_bpm) == (None, None)
    brown = measure_sound(0.02 * hiss().cumsum(dim=1), RATE)
    assert brown.brightness_hz is not None
    assert brown.brightness_hz < 2000
    assert max(white.tonality, brown.tonality) < 0.1


def test_beating_of_70_hz_is_as_rough_as_it_is_deep() -> None:
    deep, shallow = (
        measure_sound(
            ((1 + depth * torch.cos(2 * math.pi * 70 * clock(2))) * tone(2000)[0])[None].float()
            * 0.5,
            RATE,
        ).roughness
        for depth in (0.8, 0.4)
    )
    slow = measure_sound(
        ((1 + 0.8 * torch.cos(2 * math.pi * 4 * clock(2))) * tone(2000)[0])[None].float() * 0.5,
        RATE,
    ).roughness
    assert deep == pytest.approx(2 * shallow, rel=0.05)
    assert 0.4 < deep < 0.85
    assert slow < 0.02


def test_stationarity_of_a_decay_is_that_of_its_spread() -> None:
    # A level that falls by 50 dB evenly has a standard deviation of 50 / sqrt(12) dB.
    wav = tone(1000, 4.0) * 10 ** (-50 / 20 * clock(4.0) / 4).float()
    wanted = 1 / (1 + 50 / math.sqrt(12) / 6)
    assert measure_sound(wav, RATE).stationarity == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize("cut", [8_000, 11_025, 16_000, 19_000])
@pytest.mark.parametrize("colour", [0.0, 1.0])
def test_where_high_frequencies_were_cut_off_is_found(cut: int, colour: float) -> None:
    """In noise, white and falling by 6 dB an octave, that went through a lower sample rate."""
    spectrum = torch.fft.rfft(torch.randn(3 * RATE))
    hertz = torch.linspace(0, RATE / 2, len(spectrum))
    noise = torch.fft.irfft(spectrum / hertz.clamp(min=20) ** colour)[None]
    assert measure_sound(noise, RATE).bandwidth_hz == RATE / 2
    there = resample(resample(noise, RATE, 2 * cut), 2 * cut, RATE)
    assert measure_sound(there, RATE).bandwidth_hz == pytest.approx(cut, rel=0.06)


@pytest.mark.parametrize("bpm", [72, 90, 120, 150])
def test_clicks_are_events_and_have_a_tempo(bpm: float) -> None:
    found = measure_sound(clicks(bpm), RATE)
    assert found.tempo_bpm == pytest.approx(bpm, rel=0.01)
    assert found.event_density_hz == pytest.approx(bpm / 60, rel=0.1)


@pytest.mark.parametrize(
    ("hertz", "key"),
    [
        ((261.63, 329.63, 392.00), "Cmaj"),
        ((293.66, 369.99, 440.00), "Dmaj"),
        ((220.00, 261.63, 329.63), "Amin"),
        ((277.18, 329.63, 415.30), "C#min"),
    ],
)
def test_triads_have_their_key(hertz: tuple[float, ...], key: str) -> None:
    wav = torch.stack([tone(one, amplitude=0.2) for one in hertz]).sum(dim=0)
    assert measure_sound(wav, RATE).key == key


def test_true_peak_lies_between_samples() -> None:
    # A quarter of the rate, 45 degrees off: samples reach 0.707 of the peak at most.
    wav = 0.5 * torch.sin(2 * math.pi * (RATE / 4) * clock(0.5) + math.pi / 4)[None].float()
    assert float(wav.abs().max()) == pytest.approx(0.5 * math.sqrt(0.5), abs=1e-4)
    assert true_peak_db(wav, RATE, ring=True) == pytest.approx(-6.02, abs=0.1)
    assert true_peak_db(torch.zeros(1, 100), RATE) == -math.inf


def test_stereo_correlation() -> None:
    left, right = hiss(seed=0), hiss(seed=1)
    assert stereo_correlation(torch.cat([left, left])) == pytest.approx(1)
    assert stereo_correlation(torch.cat([left, -left])) == pytest.approx(-1)
    assert stereo_correlation(torch.cat([left, right])) == pytest.approx(0, abs=0.02)
    assert stereo_correlation(torch.cat([left, 0 * left])) is None
    assert stereo_correlation(left) is None


def test_silence_and_very_short_sounds_have_numbers_that_json_can_hold() -> None:
    silence = measure_sound(torch.zeros(2, RATE), RATE)
    assert (silence.loudness_lufs, silence.true_peak_db, silence.brightness_hz) == (None,) * 3
    assert (silence.event_density_hz, silence.tonality, silence.roughness) == (0, 0, 0)
    for wav in (torch.zeros(1, 1), 0.1 * torch.ones(1, 1), tone(1000, 0.01), tone(100, 0.3)):
        json.dumps(asdict(measure_sound(wav, RATE)), allow_nan=False)
    assert measure_sound(tone(1000, 0.1), RATE).loudness_lufs == pytest.approx(-9.03, abs=0.2)


def test_sides_that_cancel_are_measured_nevertheless() -> None:
    found = measure_sound(torch.cat([tone(1000), -tone(1000)]), RATE)
    assert found.brightness_hz == pytest.approx(1000, rel=0.05)


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        measure_sound(torch.full((1, 1000), math.nan), RATE)


@pytest.mark.parametrize("wav", [tone(440, 1.0), hiss(1.0), clicks(120, 4.0), torch.zeros(1, 480)])
def test_some_of_the_numbers_are_those_of_all(wav: Tensor) -> None:
    whole = asdict(measure_sound(wav, RATE))
    for name, value in whole.items():
        assert measure_some(wav, RATE, [name]) == {name: value}
    assert measure_some(wav, RATE, whole) == whole
    assert measure_some(wav, RATE, []) == {}


def picked(strength: list[float], near: int, around: int) -> int:
    """What `librosa.util.peak_pick` is documented to pick, place by place."""
    count, next_one = 0, 0
    for place, value in enumerate(strength):
        close = strength[max(0, place - near) : place + near + 1]
        mean = np.mean(strength[max(0, place - around) : place + around + 1])
        if place >= next_one and value == max(close) and value >= mean + measures.EVENT_DB:
            count, next_one = count + 1, place + near + 1
    return count


@pytest.mark.parametrize("length", [1, 2, 7, 50, 400])
def test_events_are_those_of_the_usual_definition(length: int) -> None:
    for seed in range(20):
        strength = np.random.default_rng(seed).exponential(3.0, length)
        padded = np.pad(strength, 4).tolist()
        expected = picked(padded, 4, round(0.25 * measures.ONSET_HZ)) if length > 1 else 0
        assert len(measures.find_events(strength)) == expected


def test_no_function_is_called_that_two_first_processes_may_break(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cards are made in many processes and threads: see numba's issue 10128."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a function that numba keeps in two files")

    monkeypatch.setattr(GUFunc, "__call__", refuse)
    found = measure_sound(tone(440) + clicks(120)[:, : 2 * RATE], RATE)
    assert found.event_density_hz > 0
