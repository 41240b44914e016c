"""Framing, inversion and the mel filters."""

import pytest
import torch

from audiogen.audio.spectral import istft, mel_filterbank, stft


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


BANKS = [(96, 1024, 22050), (128, 512, 44100), (10, 128, 16000)]


@pytest.mark.parametrize(("bands", "n_fft", "rate"), BANKS)
def test_every_mel_band_is_a_mean_of_bins(bands: int, n_fft: int, rate: int) -> None:
    bank = mel_filterbank(bands, n_fft, rate)
    assert bank.shape == (bands, n_fft // 2 + 1)
    torch.testing.assert_close(bank.sum(dim=1), torch.ones(bands))
    centres = (bank * torch.arange(n_fft // 2 + 1)).sum(dim=1)
    assert bool((centres.diff() >= 0).all())
