"""The Fourier encoder: magnitudes alone, or the phases of the lowest bins as well."""

import math

import pytest
import torch
from torch import Tensor

from audiogen.nn.fourier import FourierEncoder, FourierFraming

FRAMING = FourierFraming(
    sample_rate=16000, audio_channels=1, n_fft=512, stft_hop=128, hop_length=512
)


def encoder(phase_bins: int) -> FourierEncoder:
    torch.manual_seed(0)
    return FourierEncoder(
        FRAMING, dim=32, depth=2, num_bands=40, out_channels=8, phase_bins=phase_bins
    ).eval()


def tone(hertz: float) -> Tensor:
    return 0.3 * torch.sin(2 * math.pi * hertz * torch.arange(512 * 12) / 16000)[None, None]


def change(network: FourierEncoder, first: Tensor, second: Tensor) -> float:
    """Relative difference of the features of two sounds."""
    with torch.no_grad():
        a, b = network(first), network(second)
    return float((a - b).norm() / a.norm())


def test_without_phase_bins_the_sign_makes_no_difference() -> None:
    network = encoder(0)
    assert network.stack.embed.in_features == 4 * 40
    assert change(network, tone(300), -tone(300)) == 0
    assert change(network, tone(300), tone(500)) > 0.1


@pytest.mark.parametrize("hertz", [150, 600])
def test_phase_bins_tell_a_wave_from_its_negative(hertz: float) -> None:
    network = encoder(32)  # up to 1 kHz
    assert network.stack.embed.in_features == 4 * (40 + 64)
    assert change(network, tone(hertz), -tone(hertz)) > 0.1


def test_above_them_the_sign_makes_hardly_any_difference() -> None:
    network = encoder(32)
    assert change(network, tone(6000), -tone(6000)) < 0.3 * change(network, tone(600), -tone(600))


def test_silence_has_a_gradient() -> None:
    wav = torch.zeros(1, 1, 512 * 4, requires_grad=True)
    encoder(32)(wav).square().sum().backward()
    assert wav.grad is not None
    assert bool(wav.grad.isfinite().all())
