"""Stereo: the middle is coded as mono is, and the side is as loud and as like it as it was."""

import dataclasses

import pytest
import torch
from torch import Tensor

from audiogen.audio.dsp import left_right, mid_side
from audiogen.codecs.losses import (
    VIEWS,
    SpectralDistance,
    SpectralLossConfig,
    draw_views,
    is_wide,
    viewed,
)
from audiogen.codecs.vae import VAECodec, VAEConfig
from audiogen.nn.chance import draws_of
from audiogen.nn.fourier import FourierFraming
from audiogen.nn.harmonic import (
    MONO_GAIN,
    Envelope,
    HarmonicDecoder,
    Side,
    frequency_points,
    gains_per_frame,
)

RATE, HOP = 16000, 512
FRAMING = FourierFraming(
    sample_rate=RATE, audio_channels=2, n_fft=512, stft_hop=256, hop_length=HOP
)


def make_codec() -> VAECodec:
    torch.manual_seed(0)
    config = VAEConfig.model_validate(
        {
            "sample_rate": RATE,
            "hop_length": HOP,
            "audio_channels": 2,
            "latent_channels": 8,
            "trunk": {
                "type": "harmonic",
                "n_fft": 512,
                "stft_hop": 256,
                "num_bands": 24,
                "encoder_dim": 48,
                "encoder_depth": 1,
                "decoder_dim": 48,
                "decoder_depth": 1,
            },
        }
    )
    return VAECodec(config)


def wide_noise(correlation: float, items: int = 1, frames: int = 40) -> Tensor:
    """Noise (B, 2, T) whose channels have this correlation."""
    first, second = 0.1 * torch.randn(2, items, frames * HOP)
    return torch.stack([first, correlation * first + (1 - correlation**2) ** 0.5 * second], dim=1)


def width(wav: Tensor) -> float:
    """RMS of the side over that of the middle."""
    middle, side = mid_side(wav)
    return float(side.square().mean().sqrt() / middle.square().mean().sqrt())


def test_middle_and_side_are_left_and_right() -> None:
    wav = torch.randn(3, 2, 100)
    torch.testing.assert_close(left_right(*mid_side(wav)), wav)


def test_points_of_frequency_give_lines_back() -> None:
    for spacing, knee in ((0.0, 2200.0), (60.0, 600.0), (150.0, 750.0)):
        matrix = frequency_points(spacing, knee, 2048, 44100)
        torch.testing.assert_close(matrix.sum(dim=0), torch.ones(1025))
        assert bool((matrix >= 0).all())
        assert bool((matrix.sum(dim=1) > 0).all())
        assert len(matrix) < 400
    bins = frequency_points(0.0, 2200.0, 2048, 44100)
    torch.testing.assert_close(bins[:100, :100], torch.eye(100), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("rate", "hop", "count"),
    [(44100, 2048, 16), (22050, 1024, 16), (16000, 512, 8), (44100, 735, 1)],
)
def test_gains_divide_a_frame(rate: int, hop: int, count: int) -> None:
    framing = FourierFraming(
        sample_rate=rate, audio_channels=1, n_fft=hop, stft_hop=hop, hop_length=hop
    )
    assert gains_per_frame(framing) == count


@pytest.mark.parametrize(("gain", "correlation"), [(0.5, 0.0), (1.0, 0.0), (0.3, 0.8), (1.0, -1.0)])
def test_a_side_is_as_loud_and_as_like_the_middle_as_is_said(
    gain: float, correlation: float
) -> None:
    decoder = HarmonicDecoder(FRAMING, dim=8, depth=1, in_channels=4)
    frames = 200
    flat = torch.ones(1, 257, 2 * frames)
    envelope = Envelope(
        tonal=0 * flat,
        noisy=0.1 * flat,
        gain=torch.ones(1, frames * HOP),
        side=Side(gain=gain * flat, pan=0 * flat, correlation=correlation * flat),
    )
    noise = torch.randn(1, 2, frames * HOP)
    wav = decoder.synthesise(envelope, noise[:, 0], noise, torch.tensor([True]))
    middle, side = mid_side(wav)
    assert width(wav) == pytest.approx(gain, rel=0.03)
    assert float(torch.corrcoef(torch.cat([middle, side]))[0, 1]) == pytest.approx(
        correlation, abs=0.03
    )
    mono = decoder.synthesise(envelope, noise[:, 0], noise, torch.tensor([False]))
    torch.testing.assert_close(mono, middle[:, None].expand(-1, 2, -1))


def test_pulses_are_where_the_pan_puts_them() -> None:
    decoder = HarmonicDecoder(FRAMING, dim=8, depth=1, in_channels=4)
    flat = torch.ones(1, 257, 80)
    side = Side(gain=flat, pan=flat, correlation=flat)
    envelope = Envelope(tonal=flat, noisy=0 * flat, gain=torch.ones(1, 40 * HOP), side=side)
    noise = torch.randn(1, 2, 40 * HOP)
    wav = decoder.synthesise(envelope, noise[:, 0], noise, torch.tensor([True]))
    assert float(wav[0, 1].abs().max()) < 1e-5 < float(wav[0, 0].abs().max())  # all is left


def test_mono_stays_mono_and_says_so() -> None:
    codec = make_codec().eval()
    wav = wide_noise(1.0)
    assert torch.equal(wav[:, 0], wav[:, 1])
    with torch.no_grad():
        encoder = codec.trunk.get_submodule("encoder")
        assert float(encoder._width(wav).abs().max()) == 0  # type: ignore[operator]
        assert float(encoder._width(wide_noise(0.0)).abs().max()) > 0.3  # type: ignore[operator]
        latents = codec.encode(wav)
        assert width(codec.decode(latents)) > 0.05  # it knows nothing yet
        head = codec.trunk.get_submodule("decoder.head")
        decoder = codec.trunk.get_submodule("decoder")
        sides = decoder.sizes[-1]  # type: ignore[index]
        head.bias[-sides:] = -8.0  # type: ignore[index, operator]
        decoded = codec.decode(latents)
    assert torch.equal(decoded[:, 0], decoded[:, 1])
    assert decoded.abs().max() > 0
    assert float(torch.tensor(-8.0).exp()) < MONO_GAIN


def test_an_item_does_not_depend_on_the_stereo_of_others() -> None:
    codec = make_codec().eval()
    both = torch.cat([wide_noise(1.0), wide_noise(0.0)])
    latents = codec.encode(both)
    together = codec.decode(latents, seeds=[3, 4])
    for item, seed in enumerate((3, 4)):
        alone = codec.decode(latents[item : item + 1], seeds=[seed])
        torch.testing.assert_close(alone[0], together[item], atol=1e-5, rtol=1e-4)


def test_mono_is_seen_in_its_channels_and_stereo_from_four_sides() -> None:
    wav = torch.cat([wide_noise(1.0), wide_noise(0.3), wide_noise(1.0), wide_noise(0.0)])
    assert is_wide(wav).tolist() == [False, True, False, True]
    narrow, wide = [], []
    for step in range(100):
        with draws_of(0, step, range(4)):
            views = draw_views(wav)
        rows = viewed(wav, views)
        assert rows.shape == (4, 1, wav.shape[2])
        torch.testing.assert_close(rows[[0, 2], 0], wav[[0, 2], 0])
        narrow.append(tuple(views[0].tolist()))
        wide.append(tuple(views[1].tolist()))
    assert set(wide) == set(VIEWS)
    assert set(narrow) == set(VIEWS[:2])
    assert max(wide.count(view) for view in VIEWS) < 45
    mono = wav[:, :1]
    assert torch.equal(viewed(mono, draw_views(mono)), mono)


def test_the_loss_hears_width() -> None:
    """Each channel of mono noise is like one of wide noise; the views are not."""
    distance = SpectralDistance(SpectralLossConfig(windows_ms=(32, 16), bin_windows_ms=(16,)), RATE)
    distance.eval()
    wide = wide_noise(0.0, 4)
    mono = wide[:, :1].expand(-1, 2, -1)

    def loss(first: Tensor, second: Tensor) -> float:
        found = []
        for step in range(6):
            with draws_of(0, step, range(4)):
                views = draw_views(wide)
            seen = (viewed(one, views) for one in (wide, first, second))
            found.append(torch.stack(list(distance(*seen).values())).sum())
        return float(torch.stack(found).mean())

    other = wide_noise(0.0, 4)
    assert loss(wide_noise(0.0, 4), other) < 0.9 * loss(mono, other[:, 1:].expand(-1, 2, -1))


def test_noise_of_its_own_in_each_channel_is_no_fault_where_a_recording_is_mono() -> None:
    """The Fourier trunk's decoder has one for each: it would unlearn its grain."""
    distance = SpectralDistance(SpectralLossConfig(windows_ms=(32, 16), bin_windows_ms=(16,)), RATE)
    distance.eval()
    mono = wide_noise(1.0, 4)
    first, second, silent = wide_noise(0.0, 4), wide_noise(0.0, 4), torch.zeros_like(mono)

    def loss(*estimates: Tensor) -> float:
        with draws_of(0, 0, range(4)):
            views = draw_views(mono)
        seen = (viewed(one, views) for one in (mono, *estimates))
        return float(torch.stack(list(distance(*seen).values())).sum())

    assert loss(first, second) < 0.3 * loss(silent, silent)


@pytest.mark.slow
def test_width_is_learnt_and_mono_is_narrow() -> None:
    codec = make_codec().train()
    distance = SpectralDistance(SpectralLossConfig(windows_ms=(32, 16), bin_windows_ms=(16,)), RATE)
    optimizer = torch.optim.Adam(codec.parameters(), lr=3e-3)
    kinds = (1.0, 0.0, -0.6)
    for step in range(300):
        wav = torch.cat([wide_noise(kind, 2, 16) for kind in kinds])
        with draws_of(0, step, range(6)):
            views = draw_views(wav)
            output = codec(wav)
            seen = (viewed(one, views) for one in (wav, *output.reconstructions))
            losses = {**distance(*seen), **output.losses}
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    codec.eval()
    for kind in kinds:
        wav = wide_noise(kind)
        decoded = codec.decode(codec.encode(wav))
        if kind == 1.0:
            assert width(decoded) < 0.01
        else:
            assert width(decoded) == pytest.approx(width(wav), rel=0.25)


def test_a_faint_side_of_mono_is_pushed_as_hard_as_a_loud_one_until_it_is_left_out() -> None:
    codec = make_codec().train()
    head = codec.trunk.get_submodule("decoder.head")
    sides = codec.trunk.get_submodule("decoder").sizes[-1] // 3  # type: ignore[union-attr, operator]
    pushes = []
    for level in (0.0, -2.0, -8.0):  # log gains of -2, -4 (-35 dB) and -10
        with torch.no_grad():
            head.weight[-3 * sides :] = 0  # type: ignore[index, operator]
            head.bias[-3 * sides : -2 * sides] = level  # type: ignore[index, operator]
        codec.zero_grad()
        codec(wide_noise(1.0)).losses["width"].backward()
        assert isinstance(head.bias, Tensor)
        assert head.bias.grad is not None
        pushes.append(float(head.bias.grad[-3 * sides : -2 * sides].sum()))
    assert pushes[0] == pytest.approx(pushes[1], rel=1e-4)
    assert pushes[0] > 0
    assert pushes[2] == 0


def test_every_part_of_the_side_gets_a_gradient() -> None:
    codec = make_codec().train()
    wav = torch.cat([wide_noise(0.2), wide_noise(1.0)])
    output = codec(wav)
    assert set(output.losses) == {"kl", "periodicity", "width"}
    total = sum(one.square().mean() for one in output.reconstructions)
    (total + sum(output.losses.values())).backward()
    for name, weight in codec.named_parameters():
        assert weight.grad is not None, name
        assert float(weight.grad.abs().sum()) > 0, name
    assert dataclasses.is_dataclass(output)
