"""Seams and rings: what is measured at the join, and the exact length of a loop."""

import math

import pytest
import torch
from torch import Tensor

from audiogen.audio.loops import measure_seam, resample_ring

RATE = 16_000


def ring_noise(length: int = 2 * RATE, channels: int = 1, seed: int = 0) -> Tensor:
    """Noise with a slope of 3 dB per octave whose end leads into its beginning."""
    source = torch.Generator().manual_seed(seed)
    spectrum = torch.fft.rfft(torch.randn(channels, length, generator=source))
    spectrum = spectrum / torch.arange(1, spectrum.shape[-1] + 1).sqrt()
    wav = torch.fft.irfft(spectrum, n=length)
    return 0.3 * wav / wav.abs().max()


def ring_sine(cycles: int = 441, length: int = RATE, phase: float = 0.0) -> Tensor:
    time = torch.arange(length, dtype=torch.float64) / length
    return (0.5 * torch.sin(2 * math.pi * (cycles * time + phase))).float()[None]


def test_a_ring_of_noise_passes_at_any_turn_as_often_as_any_place() -> None:
    wav = ring_noise()
    passed = [measure_seam(wav.roll(turn, dims=1), RATE).passes for turn in range(0, 32000, 400)]
    assert sum(passed) >= 0.88 * len(passed)


@pytest.mark.parametrize("phase", [0.0, 0.25, 0.4])
def test_a_sine_passes_where_it_fits_and_fails_where_it_does_not(phase: float) -> None:
    seam = measure_seam(ring_sine(phase=phase), RATE)
    assert seam.passes
    assert abs(seam.level_jump_db) < 0.5
    broken = measure_seam(ring_sine(phase=phase)[:, :-9], RATE)
    assert not broken.passes
    assert broken.flux > 3 * broken.flux_p95
    assert broken.slope_jump > 2


@pytest.mark.parametrize("damage", ["level", "colour", "click", "silence"])
def test_what_is_heard_at_the_join_fails(damage: str) -> None:
    wav = ring_noise(seed=3)
    assert measure_seam(wav, RATE).passes
    half = wav.shape[1] // 2
    ramp = torch.linspace(0, 1, wav.shape[1])
    if damage == "level":  # a slow fade, as whole sounds have
        wav = wav * (1 - 0.9 * ramp)
    elif damage == "colour":
        dull = torch.nn.functional.avg_pool1d(wav, 9, stride=1, padding=4)
        wav = (1 - ramp) * wav + ramp * dull
    elif damage == "click":
        wav = 0.1 * wav
        wav[:, -1] = 0.5
    else:
        wav = wav.clone()
        wav[:, half // 8 * 15 :] = 0
    seam = measure_seam(wav, RATE)
    assert not seam.passes
    assert seam.score > 1
    if damage == "level":
        assert seam.level_jump_db > 10
    if damage == "click":
        assert seam.step > 2


def test_stereo_that_turns_at_the_join_is_measured() -> None:
    left = ring_noise(seed=1)
    wide = torch.cat([left, ring_noise(seed=2)])
    near = round(0.5 * RATE)
    turned = wide.clone()
    turned[1, -near:] = left[0, -near:]
    assert abs(measure_seam(wide, RATE).correlation_jump) < 0.5
    assert measure_seam(turned, RATE).correlation_jump < -0.7
    assert measure_seam(left, RATE).correlation_jump == 0


def test_silence_and_very_short_loops_are_no_error() -> None:
    assert measure_seam(torch.zeros(2, RATE), RATE).passes
    for length in (16, 100, 700, 1500):
        assert math.isfinite(measure_seam(ring_sine(3, length), RATE).score)


@pytest.mark.parametrize("shape", [(1000,), (1, 15), (0, 100)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected wav \(C, T >= 16\)"):
        measure_seam(torch.zeros(shape), RATE)


def test_samples_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        measure_seam(torch.full((1, 100), math.nan), RATE)


@pytest.mark.parametrize("target", [16000, 15873, 16217, 15999, 12001])
def test_a_sine_on_the_ring_stays_one(target: int) -> None:
    exact = ring_sine(441, target, phase=0.1)
    torch.testing.assert_close(
        resample_ring(ring_sine(441, 16000, phase=0.1), target), exact, atol=2e-6, rtol=0
    )


def test_a_resampled_ring_has_no_seam() -> None:
    wav = ring_noise(length=31_744, seed=4)
    assert measure_seam(wav, RATE).passes
    for target in (32_000, 31_500):
        changed = resample_ring(wav, target)
        assert changed.shape == (1, target)
        assert measure_seam(changed, RATE).passes
    turned = resample_ring(wav.roll(31_744 // 2, dims=1), 32_000)
    torch.testing.assert_close(
        turned, resample_ring(wav, 32_000).roll(16_000, 1), atol=1e-5, rtol=0
    )


def test_no_change_is_no_change_and_nothing_is_refused() -> None:
    wav = ring_noise()
    assert resample_ring(wav, wav.shape[1]) is wav
    with pytest.raises(ValueError, match="cannot become 0"):
        resample_ring(wav, 0)
