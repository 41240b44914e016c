"""The Fourier trunk's parts: magnitudes without phases, and the straight path of the waveform."""

import math

import pytest
import torch
from torch import Tensor

from audiogen.nn.fourier import FourierEncoder, FourierFraming, WavePath

FRAMING = FourierFraming(
    sample_rate=16000, audio_channels=1, n_fft=512, stft_hop=128, hop_length=512
)
NUM_BINS = 32  # up to 500 Hz


def tone(hertz: float, channels: int = 1) -> Tensor:
    wav = 0.3 * torch.sin(2 * math.pi * hertz * torch.arange(512 * 12) / 16000)
    return wav.expand(1, channels, -1)


def path(channels: int = 1) -> WavePath:
    framing = FourierFraming(
        sample_rate=16000, audio_channels=channels, n_fft=512, stft_hop=128, hop_length=512
    )
    return WavePath(
        framing, num_bins=NUM_BINS, encoder_channels=80, decoder_channels=80, dim=24
    ).eval()


def likeness(first: Tensor, second: Tensor) -> float:
    """Cosine of two waveforms, but for their first and last frames."""
    a, b = first[..., 512:-512].flatten(), second[..., 512:-512].flatten()
    return float(torch.dot(a, b) / (a.norm() * b.norm()))


def test_the_networks_see_magnitudes_alone() -> None:
    network = FourierEncoder(FRAMING, dim=32, depth=2, num_bands=40, out_channels=8).eval()
    with torch.no_grad():
        up, down, other = network(tone(300)), network(-tone(300)), network(tone(500))
    assert network.stack.embed.in_features == 4 * 40
    assert torch.equal(up, down)
    assert float((up - other).norm() / up.norm()) > 0.1


@pytest.mark.parametrize("channels", [1, 2])
@torch.no_grad()
def test_the_path_begins_as_the_lowest_band_itself(channels: int) -> None:
    way, wav = path(channels), tone(330, channels) * torch.tensor([[[1.0], [-0.5]]])[:, :channels]
    latents = way.encode(wav)
    assert latents.shape == (1, 80, 12)
    found = way.decode(latents, torch.zeros(1, 12, 24))
    other = way.decode(way.encode(-wav), torch.zeros(1, 12, 24))
    assert found.shape == wav.shape
    for channel in range(channels):  # how loud each one is, the decoder has yet to learn
        assert likeness(found[:, channel], wav[:, channel]) > 0.99
        assert likeness(other[:, channel], wav[:, channel]) < -0.99


@torch.no_grad()
def test_a_shape_does_not_depend_on_how_loud_it_is() -> None:
    way = path()
    loud, quiet = way.encode(tone(330)), way.encode(0.01 * tone(330))
    torch.testing.assert_close(loud[..., 1:-1], quiet[..., 1:-1], atol=2e-3, rtol=0)


@torch.no_grad()
def test_above_the_band_there_is_hardly_a_sound() -> None:
    way, wav = path(), tone(330) + tone(4000)
    found = way.decode(way.encode(wav), torch.zeros(1, 12, 24))
    assert likeness(found, tone(330)) > 0.99
    assert abs(likeness(found, tone(4000))) < 0.01


def test_silence_stays_silent_and_has_a_gradient() -> None:
    wav = torch.zeros(1, 1, 512 * 4, requires_grad=True)
    way = path()
    found = way.decode(way.encode(wav), torch.zeros(1, 4, 24))
    assert not bool(found.any())
    found.sum().backward()
    assert wav.grad is not None
    assert bool(wav.grad.isfinite().all())
