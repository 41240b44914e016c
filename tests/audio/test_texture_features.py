import numpy as np
import pytest
import torch
from torch import Tensor

from audiogen.audio.measure.texture_features import (
    ENVELOPE_RATE,
    MODULATION_HZ,
    NUM_BANDS,
    cochlear_envelopes,
    erb_rate,
    log_mel,
    texture_statistics,
)
from audiogen.audio.spectral import fft_length

RATE = 22_050
SECONDS = 2.0


def white(seed: int = 0, rate: int = RATE, seconds: float = SECONDS) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(1, round(seconds * rate), generator=generator)


def pulsing(hz: float) -> Tensor:
    time = torch.arange(round(SECONDS * RATE)) / RATE
    return white() * (1 + torch.cos(2 * torch.pi * hz * time))


def band_of(hz: float) -> int:
    edges = np.linspace(erb_rate(50.0), erb_rate(10_000.0), NUM_BANDS + 2)
    return int(np.argmin(np.abs(edges[1:-1] - erb_rate(hz))))


def modulation(features: np.ndarray) -> np.ndarray:
    start = 4 * NUM_BANDS
    return features[start : start + NUM_BANDS * len(MODULATION_HZ)].reshape(NUM_BANDS, -1)


def test_a_sine_excites_the_band_of_its_frequency_with_its_envelope() -> None:
    time = torch.arange(round(SECONDS * RATE)) / RATE
    for hz in (200.0, 1000.0, 4000.0):
        envelopes = cochlear_envelopes(torch.sin(2 * torch.pi * hz * time)[None], RATE)
        middle = envelopes[:, 100:-100].mean(axis=1)
        assert envelopes.shape == (NUM_BANDS, round(SECONDS * ENVELOPE_RATE))
        assert abs(int(middle.argmax()) - band_of(hz)) <= 1
        # RMS 1 is amplitude sqrt(2); the nearest band passes cos(pi / 4) of it or more.
        assert 1.0 <= middle.max() <= 1.02 * 2**0.15


def test_the_bands_together_keep_the_power_of_a_tone() -> None:
    # Half-cosines that overlap by half: squared gains sum to one between the outer centres.
    time = torch.arange(round(SECONDS * RATE)) / RATE
    for hz in (250.0, 900.0, 3300.0, 7000.0):
        envelopes = cochlear_envelopes(0.3 * torch.sin(2 * torch.pi * hz * time)[None], RATE)
        power = (envelopes[:, 100:-100] ** (2 / 0.3)).sum(axis=0) / 2
        assert power.mean() == pytest.approx(1.0, abs=0.02)


def test_level_does_not_matter_and_silence_is_finite() -> None:
    wav = white()
    assert np.allclose(
        texture_statistics(wav, RATE), texture_statistics(0.01 * wav, RATE), atol=1e-3
    )
    silent = texture_statistics(torch.zeros(1, RATE), RATE)
    half = texture_statistics(torch.cat([wav, torch.zeros_like(wav)], dim=1), RATE)
    assert np.isfinite(silent).all()
    assert np.isfinite(half).all()
    assert silent.shape == half.shape == texture_statistics(wav, RATE).shape


@pytest.mark.parametrize("hz", [2.0, 8.0, 32.0])
def test_pulses_show_in_their_modulation_band(hz: float) -> None:
    power = modulation(texture_statistics(pulsing(hz), RATE)).mean(axis=0)
    steady = modulation(texture_statistics(white(), RATE)).mean(axis=0)
    band = MODULATION_HZ.index(hz)
    assert (power - steady).argmax() == band
    assert power[band] > steady[band] + 1


def test_common_pulses_correlate_the_bands_and_noise_does_not() -> None:
    start = 4 * NUM_BANDS + NUM_BANDS * len(MODULATION_HZ) + 3 * NUM_BANDS  # offsets of 3 and more
    assert texture_statistics(pulsing(4.0), RATE)[start:].mean() > 0.5
    assert abs(texture_statistics(white(), RATE)[start:].mean()) < 0.1


def test_sparse_clicks_are_skewed_and_noise_is_not() -> None:
    clicks = torch.zeros(1, round(SECONDS * RATE))
    clicks[0, :: RATE // 3] = 1.0
    skewness = slice(2 * NUM_BANDS, 3 * NUM_BANDS)
    sparse, dense = (texture_statistics(wav, RATE)[skewness] for wav in (clicks, white()))
    assert np.median(sparse) > 2
    assert np.median(np.abs(dense)) < 0.5


def test_sample_rate_changes_little_below_its_nyquist() -> None:
    time = torch.arange(2 * 44_100) / 44_100
    tones = [torch.sin(2 * torch.pi * hz * time) for hz in (300.0, 1200.0, 5000.0)]
    wav = (sum(tones) * (1 + 0.5 * torch.sin(2 * torch.pi * 6 * time)))[None]
    fine, coarse = texture_statistics(wav, 44_100), texture_statistics(wav[:, ::2], 22_050)
    loudest = [band_of(hz) for hz in (300.0, 1200.0, 5000.0)]
    assert np.allclose(fine[loudest], coarse[loudest], atol=0.02)


@pytest.mark.parametrize(
    ("wav", "said"),
    [
        (torch.zeros(RATE), "(C, T)"),
        (torch.zeros(1, 100), "too short"),
        (torch.full((1, RATE), float("nan")), "NaN"),
    ],
)
def test_bad_clips_are_refused(wav: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match="clip") as error:
        texture_statistics(wav, RATE)
    assert said in str(error.value)


def test_log_mel_of_unit_noise_is_flat_near_zero_db_and_silence_is_the_floor() -> None:
    noise = torch.randn(1, RATE)
    mel = log_mel(noise.numpy(), RATE, num_bands=20, n_fft=1024, hop=512)
    assert mel.shape == (1, 20, -(-RATE // 512))
    assert mel.mean(dim=2).abs().max() < 2.5
    assert log_mel(np.zeros(RATE), RATE, num_bands=20, n_fft=1024, hop=512).unique() == -80
    assert fft_length(0.046, 22_050) == 1024
    assert fft_length(0.046, 44_100) == 2048


def test_statistics_do_not_know_the_direction_of_time() -> None:
    wav = pulsing(4.0)  # which differs from its reverse in every sample
    forward, backward, swept = (
        texture_statistics(one, RATE)
        for one in (wav, wav.flip(1), wav * torch.linspace(0, 1, wav.shape[1]))
    )
    assert np.median(np.abs(forward - backward)) < 0.003
    assert np.abs(forward - backward).max() < 0.2  # of a share of power near its floor
    assert np.median(np.abs(forward - swept)) > 0.1
