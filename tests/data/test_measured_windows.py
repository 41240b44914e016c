"""Windows that are measured: of which samples, where a number is missing, and ranges over them."""

import math

import pytest
import torch
from torch import Tensor

from audiogen.audio.measure.measures import measure_sound
from audiogen.conditioning.controls import CONTROL_NAMES, KEY_RANGE
from audiogen.data.loading.measured import MeasuredWindow, find_ranges, measure_windows
from audiogen.types import LatentSpec

RATE, HOP, WINDOW = 16_000, 256, 50
SPEC = LatentSpec(
    kind="continuous",
    channels=4,
    vocab_size=None,
    hop_length=HOP,
    sample_rate=RATE,
    audio_channels=1,
)


def tone(hertz: float, num_samples: int) -> Tensor:
    return 0.3 * torch.sin(2 * math.pi * hertz * torch.arange(num_samples) / RATE)[None]


def test_a_long_file_is_measured_by_windows_of_the_very_samples() -> None:
    wav = torch.cat([tone(300, 2 * WINDOW * HOP), tone(4000, WINDOW * HOP + 100)], dim=1)
    windows = measure_windows(wav, SPEC, WINDOW, ["brightness", "density"])
    assert [window.start for window in windows] == [0, 25, 50, 75, 100, 101]
    for window in windows:
        heard = wav[:, window.start * HOP : (window.start + WINDOW) * HOP]
        found = measure_sound(heard, RATE)
        assert window.measures == {
            "brightness": found.brightness_hz,
            "density": found.event_density_hz,
        }
    hertz = [window.measures["brightness"] for window in windows]
    assert hertz[0] < 400
    assert 1000 < hertz[3] < hertz[4]
    assert hertz[5] == pytest.approx(4000, rel=0.05)
    whole = measure_sound(wav, RATE).brightness_hz
    assert whole is not None
    assert all(abs(one / whole - 1) > 0.2 for one in hertz[:3])  # which it would be wrong for


@pytest.mark.parametrize("num_samples", [3000, WINDOW * HOP - 1, WINDOW * HOP])
def test_a_short_file_is_measured_as_it_is(num_samples: int) -> None:
    wav = tone(1000, num_samples)
    [window] = measure_windows(wav, SPEC, WINDOW, ["brightness"])
    assert window.start == 0
    assert window.measures == {"brightness": measure_sound(wav, RATE).brightness_hz}


def test_nothing_asked_is_nothing_measured() -> None:
    assert measure_windows(tone(1000, 3000), SPEC, WINDOW, []) == ()


def test_what_a_sound_has_not_is_nan() -> None:
    noise = 0.1 * torch.randn(1, 2 * RATE)
    for wav, missing in (
        (noise, {"pitch", "tempo", "key"}),
        (torch.zeros(1, RATE), {"brightness", "bandwidth", "pitch", "tempo", "key"}),
    ):
        [window] = measure_windows(wav, SPEC, 1000, CONTROL_NAMES)
        assert {name for name, one in window.measures.items() if math.isnan(one)} == missing


def windows_of(**columns: list[float]) -> list[MeasuredWindow]:
    rows = zip(*columns.values(), strict=True)
    return [MeasuredWindow(start=0, measures=dict(zip(columns, row, strict=True))) for row in rows]


def test_ranges_leave_out_the_odd_ones_and_what_is_missing() -> None:
    density = [float(number) for number in range(100)] + [1e6]
    tempo = [math.nan] * 99 + [90.0, 120.0]
    key = [math.nan] * 99 + [3.0, 20.0]
    windows = windows_of(density=density, tempo=tempo, key=key)
    ranges = find_ranges(windows, ["density", "tempo", "key"])
    assert ranges["density"] == (1.0, 99.0)
    assert ranges["tempo"] == (90.3, 119.7)
    assert ranges["key"] == KEY_RANGE
    assert find_ranges([], []) == {}


@pytest.mark.parametrize("tempo", [[], [math.nan] * 3, [90.0, 90.0, math.nan]])
def test_what_does_not_vary_cannot_be_learnt(tempo: list[float]) -> None:
    with pytest.raises(ValueError, match="tempo cannot be learnt") as caught:
        find_ranges(windows_of(tempo=tempo), ["tempo"])
    assert len(str(caught.value).splitlines()) <= 4
