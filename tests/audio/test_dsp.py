import math
import warnings

import pyloudnorm
import pytest
import torch

from audiogen.audio.dsp import (
    loudness_lufs,
    resample,
    resample_blocks,
    set_loudness,
    to_channels,
)


def sine(hz: float, rate: int, seconds: float = 1.0) -> torch.Tensor:
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return torch.sin(2 * math.pi * hz * time)[None].float()


@pytest.mark.parametrize(("from_rate", "to_rate"), [(44100, 22050), (44101, 48000), (8000, 44100)])
def test_resampling_keeps_a_tone_and_its_phase(from_rate: int, to_rate: int) -> None:
    out = resample(sine(997, from_rate), from_rate, to_rate)
    assert out.dtype == torch.float32
    assert out.shape == (1, to_rate)
    middle = slice(to_rate // 4, -to_rate // 4)
    assert float((out - sine(997, to_rate))[:, middle].abs().max()) < 1e-3


def test_resampling_down_removes_what_would_alias() -> None:
    out = resample(sine(15000, 44100), 44100, 16000)
    assert float(out[:, 2000:-2000].abs().max()) < 1e-4


def test_resampling_keeps_channels_apart_and_equal_rates_as_they_are() -> None:
    wav = torch.cat([sine(500, 44100), 0 * sine(500, 44100)])
    assert resample(wav, 44100, 44100) is wav
    assert float(resample(wav, 44100, 48000)[1].abs().max()) == 0


@pytest.mark.parametrize("rates", [(44100, 22050), (48000, 44100), (44101, 48000), (8000, 44100)])
@pytest.mark.parametrize("sizes", [[1, 3, 30000], [4096] * 5, [2]])
def test_resampled_blocks_are_those_of_the_whole(rates: tuple[int, int], sizes: list[int]) -> None:
    wav = 0.1 * torch.randn(2, sum(sizes))
    whole = resample(wav, *rates)
    assert abs(whole.shape[1] - wav.shape[1] * rates[1] / rates[0]) <= 0.5
    blocks = list(resample_blocks(iter(wav.split_with_sizes(sizes, dim=1)), *rates))
    torch.testing.assert_close(torch.cat(blocks, dim=1), whole, atol=1e-6, rtol=0)


def test_blocks_at_an_equal_rate_stay_as_they_are() -> None:
    blocks = [torch.rand(1, 10), torch.rand(1, 3)]
    assert all(a is b for a, b in zip(resample_blocks(blocks, 8000, 8000), blocks, strict=True))
    assert list(resample_blocks([], 8000, 16000)) == []


@pytest.mark.parametrize("rates", [(1, 48000), (48000, 2**31 - 1), (44100, 0)])
def test_resampling_bounds_the_rate(rates: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="Hz"):
        resample(torch.zeros(1, 100), *rates)
    with pytest.raises(ValueError, match="Hz"):
        list(resample_blocks([torch.zeros(1, 100)], *rates))


def test_channels() -> None:
    stereo = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.5, 0.5]])
    assert to_channels(stereo, 2) is stereo
    assert torch.equal(to_channels(stereo, 1), torch.tensor([[0.5, 0.25, 0.75]]))
    assert torch.equal(to_channels(stereo[:1], 2), torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 1.0]]))
    assert to_channels(torch.rand(6, 10), 2).shape == (2, 10)
    for bad in (torch.zeros(10), torch.zeros(0, 10), torch.zeros(1, 0)):
        with pytest.raises(ValueError, match=r"\(C, T\)"):
            to_channels(bad, 1)
    with pytest.raises(ValueError, match="at least 1"):
        to_channels(stereo, 0)


def test_loudness_of_the_standard_tone() -> None:
    # ITU-R BS.1770-4: a 997 Hz sine at 0 dBFS in one front channel reads -3.01 LKFS.
    assert loudness_lufs(sine(997, 48000, 5.0), 48000) == pytest.approx(-3.01, abs=0.05)


def test_loudness_is_that_of_pyloudnorm_where_it_can_measure() -> None:
    wav = torch.randn(2, 44100, generator=torch.Generator().manual_seed(0)) * 0.05
    expected = pyloudnorm.Meter(44100).integrated_loudness(wav.double().numpy().T)
    assert loudness_lufs(wav, 44100) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("num_samples", [1, 2, 100, 4410, 17640, 17641])
def test_short_clips_have_a_loudness(num_samples: int) -> None:
    wav = 0.1 * torch.randn(1, num_samples, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lufs = loudness_lufs(wav, 44100)
    assert not math.isnan(lufs)
    if num_samples >= 100:
        assert -40 < lufs < -10


def test_silence_and_near_silence() -> None:
    noise = torch.randn(1, 22050, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loudness_lufs(torch.zeros(1, 22050), 22050) == -math.inf
        assert torch.equal(set_loudness(torch.zeros(1, 9), 22050), torch.zeros(1, 9))
        # Below the gate of -70 LUFS a recording still has the loudness that its gain says.
        loud, quiet = loudness_lufs(noise, 22050), loudness_lufs(noise * 1e-5, 22050)
    assert quiet == pytest.approx(loud - 100, abs=0.01)
    assert loudness_lufs(set_loudness(noise * 1e-5, 22050), 22050) == pytest.approx(-23, abs=0.01)


def test_loudness_is_set_by_one_gain() -> None:
    wav = torch.randn(2, 44100, generator=torch.Generator().manual_seed(0)) * 0.01
    out = set_loudness(wav, 44100)
    gain = float(out[0, 0] / wav[0, 0])
    assert loudness_lufs(out, 44100) == pytest.approx(-23, abs=0.01)
    torch.testing.assert_close(out, wav * gain, rtol=1e-5, atol=0)
    torch.testing.assert_close(set_loudness(wav * 0.3, 44100), out, rtol=1e-4, atol=1e-7)


def test_a_click_is_held_below_its_peak_and_not_clipped() -> None:
    wav = torch.zeros(1, 44100)
    wav[0, 1000], wav[0, 2000] = 0.2, -0.1
    out = set_loudness(wav, 44100)
    assert float(out.max()) == pytest.approx(10 ** (-1 / 20), rel=1e-6)
    assert float(out[0, 2000] / out[0, 1000]) == pytest.approx(-0.5)


def test_loudness_refuses_nan() -> None:
    with pytest.raises(ValueError, match="NaN"):
        loudness_lufs(torch.full((1, 9), torch.nan), 44100)


def test_gain_has_a_limit_so_that_near_silence_stays_quiet() -> None:
    quiet = 1e-5 * torch.randn(1, 44100, generator=torch.Generator().manual_seed(0))
    raised = set_loudness(quiet, 44100, max_gain_db=20.0)
    torch.testing.assert_close(raised, 10 * quiet)
