"""Framing, inversion, lapped cosines and the mel filters."""

import math

import pytest
import torch

from audiogen.audio.spectral import imdct, istft, mdct, mel_filterbank, stft


@pytest.mark.parametrize(("n_fft", "hop"), [(1024, 256), (512, 128), (256, 256), (2048, 256)])
def test_frames_count_hops_and_the_inverse_gives_the_signal_back(n_fft: int, hop: int) -> None:
    wav = torch.randn(2, 12 * hop)
    spectrum = stft(wav, n_fft, hop)
    assert spectrum.shape == (2, n_fft // 2 + 1, 12)
    if n_fft > hop:  # without overlap a Hann window is zero at its edges
        back = istft(spectrum, n_fft, hop)
        torch.testing.assert_close(back[:, hop:-hop], wav[:, hop:-hop], atol=1e-4, rtol=1e-4)


def test_white_noise_has_bins_of_its_own_power() -> None:
    wav = 0.3 * torch.randn(64, 4096, generator=torch.Generator().manual_seed(0))
    for n_fft in (128, 1024):
        power = stft(wav, n_fft, n_fft // 4)[:, 1:-1, 4:-4].abs().square().mean()
        assert float(power) == pytest.approx(0.09, rel=0.05)


def test_lengths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="1000 samples with n_fft=512, hop_length=128"):
        stft(torch.zeros(1, 1000), 512, 128)


@pytest.mark.parametrize("hop", [64, 256])
def test_all_coefficients_give_the_signal_back(hop: int) -> None:
    wav = torch.randn(2, 3, 10 * hop)
    coefficients = mdct(wav, hop, hop)
    assert coefficients.shape == (2, 3, hop, 10)
    half = hop // 2
    inside = slice(half, -half)
    torch.testing.assert_close(imdct(coefficients, hop)[..., inside], wav[..., inside])
    torch.testing.assert_close(
        coefficients[..., 1:-1].square().mean(), wav.square().mean(), rtol=0.1, atol=0
    )


@pytest.mark.parametrize(("hertz", "kept"), [(300, True), (3000, False)])
def test_the_lowest_coefficients_are_the_lowest_frequencies(hertz: float, kept: bool) -> None:
    hop, num_bins = 256, 32  # up to 1 kHz
    wav = torch.sin(2 * math.pi * hertz * torch.arange(40 * hop) / 16000)
    found = imdct(mdct(wav, hop, num_bins), hop)[hop:-hop]
    error = float((found - kept * wav[hop:-hop]).square().mean().sqrt())
    assert error < 0.02


@pytest.mark.parametrize(("hop", "num_bins"), [(255, 8), (256, 0), (256, 257)])
def test_a_transform_that_cannot_be_is_refused(hop: int, num_bins: int) -> None:
    with pytest.raises(ValueError, match=f"mdct: {num_bins} bins with hop_length={hop}"):
        mdct(torch.zeros(hop * 4), hop, num_bins)


BANKS = [(96, 1024, 22050), (128, 512, 44100), (10, 128, 16000)]


@pytest.mark.parametrize(("bands", "n_fft", "rate"), BANKS)
def test_every_mel_band_is_a_mean_of_bins(bands: int, n_fft: int, rate: int) -> None:
    bank = mel_filterbank(bands, n_fft, rate)
    assert bank.shape == (bands, n_fft // 2 + 1)
    torch.testing.assert_close(bank.sum(dim=1), torch.ones(bands))
    centres = (bank * torch.arange(n_fft // 2 + 1)).sum(dim=1)
    assert bool((centres.diff() >= 0).all())
