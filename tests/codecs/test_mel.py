"""Log-mel latents and their vocoders: levels, silence, corrections, Griffin-Lim, settings."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from audiogen.codecs.losses import SpectralDistance, SpectralLossConfig
from audiogen.codecs.mel import FLOOR, MelCodec, MelConfig

RATE = 16000
SMALL: dict[str, Any] = {
    "sample_rate": RATE,
    "hop_length": 256,
    "n_fft": 1024,
    "num_bands": 40,
    "vocoder_n_fft": 512,
    "stft_hop": 128,
    "decoder_dim": 24,
    "decoder_depth": 2,
}


def codec_of(**changes: Any) -> MelCodec:
    return MelCodec(MelConfig(**{**SMALL, **changes})).eval()


def tones(*hertz: float, frames: int = 60) -> Tensor:
    """Tones that come and go, (1, 1, frames * hop_length)."""
    time = torch.arange(frames * 256) / RATE
    return sum(
        (
            0.3 * torch.sin(2 * math.pi * hz * time) * (time * 3 * (k + 1) % 1 < 0.5)
            for k, hz in enumerate(hertz)
        ),
        torch.zeros(len(time)),
    )[None, None]


def distance(reference: Tensor, estimate: Tensor) -> float:
    measure = SpectralDistance(SpectralLossConfig(complex_weight=0), RATE).eval()
    return float(torch.stack(list(measure(reference, estimate).values())).sum())


def test_bands_are_mean_magnitudes_at_unit_energy() -> None:
    """Bins of white noise of deviation s are Rayleigh: their mean is s * sqrt(pi) / 2."""
    wav = 0.1 * torch.randn(1, 1, 400 * 256)
    bands = codec_of().encode(wav)[0].exp().mean(dim=1)
    expected = torch.full((40,), 0.1 * math.sqrt(math.pi) / 2)
    torch.testing.assert_close(bands[2:], expected[2:], atol=0, rtol=0.1)  # 400 frames: 3 sigma


def test_a_tone_is_in_its_band() -> None:
    codec = codec_of()
    for hz in (500, 1500, 5000):
        centres = codec.bank @ (torch.arange(513) * RATE / 1024)
        band = int(codec.encode(tones(hz)).amax(dim=2)[0].argmax())
        assert abs(float(centres[band]) - hz) < 0.08 * hz


def test_channels_are_stacked() -> None:
    codec = codec_of(audio_channels=2)
    wav = torch.cat([tones(500), torch.zeros(1, 1, 60 * 256)], dim=1)
    left, right = codec.encode(wav)[0].split(40)
    assert float(left.max()) > 0
    torch.testing.assert_close(right, torch.full_like(right, math.log(FLOOR)))
    decoded = codec.decode(codec.encode(wav))
    assert float(decoded[0, 0].abs().max()) > 0.05
    assert float(decoded[0, 1].abs().max()) < 1e-4


@pytest.mark.parametrize("vocoder", ["fourier", "griffin_lim"])
@pytest.mark.parametrize("below", [0.0, 1.0])  # a generator does not hit the floor exactly
def test_silence_stays_silence(vocoder: str, below: float) -> None:
    codec = codec_of(vocoder=vocoder)
    codec.set_scale(codec.encode(0.1 * torch.randn(1, 1, 50 * 256))[0])
    latents = codec.encode(torch.zeros(1, 1, 20 * 256)) - below
    decoded = codec.decode(latents)
    assert decoded.shape == (1, 1, 20 * 256)
    assert float(decoded.abs().max()) < 1e-4


def test_corrections_bring_the_bands_nearer() -> None:
    wav = tones(440, 1200, 3000) + 0.02 * torch.randn(1, 1, 60 * 256)
    errors = []
    for count in (0, 1, 4):
        torch.manual_seed(0)
        codec = codec_of(num_corrections=count)
        latents = codec.encode(wav)
        errors.append(float((codec.encode(codec.decode(latents)) - latents).abs().mean()))
    assert errors[1] < 0.7 * errors[0]
    assert errors[2] < 0.85 * errors[1]


def test_projections_make_phases_fit_the_magnitudes() -> None:
    """After them the STFT of the sound is nearer to the magnitudes that the decoder asked for."""
    wav = tones(440, 1200, 3000) + 0.02 * torch.randn(1, 1, 60 * 256)
    errors = []
    for count in (1, 8):
        torch.manual_seed(0)
        codec = codec_of(num_projections=count, num_corrections=0)
        latents = codec.encode(wav)
        tonal, shaped = codec._spectra(latents)
        found = codec.decoder.noise_spectrum(codec.decode(latents)).abs()
        errors.append(float((found - tonal.abs() - shaped).norm() / found.norm()))
    assert errors[1] < 0.9 * errors[0]


def test_bins_have_the_bands_they_come_from() -> None:
    wav = tones(440, 1200, 3000) + 0.02 * torch.randn(1, 1, 60 * 256)
    codec = codec_of(vocoder="griffin_lim")
    log_bands = codec.log_bands(wav)
    bands = log_bands.exp() - FLOOR
    found = codec.bank @ codec._bins(log_bands)[:, 0]
    assert float((found - bands).norm() / bands.norm()) < 0.1


def test_the_untrained_vocoder_is_nearer_than_noise() -> None:
    wav = 0.1 * torch.randn(1, 1, 60 * 256) * torch.linspace(0.1, 1, 60 * 256)
    codec = codec_of()
    noise = torch.randn_like(wav) * wav.square().mean().sqrt()
    assert distance(wav, codec.decode(codec.encode(wav))) < 0.7 * distance(wav, noise)


def test_griffin_lim_is_nearer_than_noise() -> None:
    wav = tones(440, 1200, 3000)
    codec = codec_of(vocoder="griffin_lim")
    made = codec.decode(codec.encode(wav))
    noise = torch.randn_like(wav) * wav.square().mean().sqrt()
    assert distance(wav, made) < 0.5 * distance(wav, noise)


def test_griffin_lim_keeps_level_and_place() -> None:
    wav = tones(440)
    codec = codec_of(vocoder="griffin_lim")
    made = codec.decode(codec.encode(wav))
    frames = [x.reshape(60, 256).square().mean(dim=1).sqrt() for x in (wav, made)]
    assert float(torch.corrcoef(torch.stack(frames))[0, 1]) > 0.9
    assert 0.6 < float(frames[1].mean() / frames[0].mean()) < 1.4


def test_the_same_codec_with_griffin_lim() -> None:
    codec = codec_of()
    wav = tones(440, 1200)
    codec.set_scale(codec.encode(wav)[0])
    other = codec.untrained()
    assert other is not None
    assert other.untrained() is None
    assert not other.trainable
    assert torch.equal(other.encode(wav), codec.encode(wav))
    assert set(other.state_dict()) == {"latent_mean", "latent_std", "open_variance"}
    assert distance(wav, other.decode(codec.encode(wav))) < distance(wav, torch.zeros_like(wav))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_fft": 1000}, "n_fft=1000 must be an even multiple of hop_length=256"),
        ({"n_fft": 256}, "n_fft=256 must be an even multiple"),
        ({"stft_hop": 100}, "stft_hop=100 must be even, and hop_length=256"),
        ({"vocoder_n_fft": 500}, "vocoder_n_fft=500 multiples of it"),
        ({"hop_length": 441, "n_fft": 1764, "stft_hop": 147, "vocoder_n_fft": 441}, "must be even"),
        ({"num_bands": 1}, "greater than or equal to 2"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MelConfig(**{**SMALL, **changes})
