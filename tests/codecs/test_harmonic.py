"""The harmonic trunk: pitch is measured, goes through latents and is heard, also in a ring."""

import math

import pytest
import torch
from voices import HOP, RATE, TRUNK, steady, voice

from audiogen.audio.pitch import HIGHEST_HZ, MIDDLE, SURE, periodicity_at, track_pitch
from audiogen.codecs.trunk import PITCH_STD
from audiogen.codecs.vae import VAECodec, VAEConfig
from audiogen.nn.pulses import pulses, running_phase


def make_codec(audio_channels: int = 1) -> VAECodec:
    config = VAEConfig.model_validate(
        {
            "sample_rate": RATE,
            "hop_length": HOP,
            "audio_channels": audio_channels,
            "latent_channels": 4,
            "trunk": TRUNK,
        }
    )
    return VAECodec(config).eval()


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("hertz", [80.0, 220.0, 441.7, 1200.0])
def test_a_steady_pitch_is_found_at_any_rate(hertz: float, rate: int) -> None:
    pitch, periodicity = track_pitch(steady(hertz, 40, rate, 1024), rate, 1024)
    assert pitch.shape == periodicity.shape == (1, 40)
    cents = 1200 * (pitch[0, 5:-5] - math.log2(hertz))
    assert float(cents.abs().max()) < 25
    assert float(periodicity[0, 5:-5].min()) > (0.85 if rate == 8000 else 0.97)


@pytest.mark.parametrize("rate", [22050, 44100])
@pytest.mark.parametrize("hertz", [2100.0, 3000.0, 3900.0])
def test_a_whistled_pitch_is_found(hertz: float, rate: int) -> None:
    wav = 0.1 * torch.sin(2 * math.pi * hertz / rate * torch.arange(40 * 1024))[None]
    pitch, periodicity = track_pitch(wav, rate, 1024)
    cents = 1200 * (pitch[0, 5:-5] - math.log2(hertz))
    assert float(cents.abs().max()) < 25
    assert float(periodicity[0, 5:-5].min()) > 0.85


@pytest.mark.parametrize("octaves", [0.5, 1.0])
def test_noise_of_a_high_band_has_no_pitch(octaves: float) -> None:
    torch.manual_seed(0)
    wav = torch.randn(1, 200 * HOP)
    hertz = torch.fft.rfftfreq(wav.shape[1], 1 / RATE)
    is_inside = (hertz / 3000).log2().abs() < octaves / 2
    wav = 0.1 * torch.fft.irfft(torch.fft.rfft(wav) * is_inside)
    pitch, periodicity = track_pitch(wav, RATE, HOP)
    is_high = pitch > math.log2(1800)
    assert float(((periodicity > SURE) & is_high).float().mean()) < 0.2


def test_a_glide_is_followed() -> None:
    hertz = 150 * torch.linspace(0, 1.5, 100 * HOP).exp2()
    pitch, _ = track_pitch(voice(hertz), RATE, HOP)
    expected = hertz.reshape(100, HOP).mean(dim=1).log2()
    torch.testing.assert_close(pitch[0, 10:-10], expected[10:-10], atol=0.02, rtol=0)


@pytest.mark.parametrize(("frames", "octaves"), [(1, 0.0), (16, -1.0)])
def test_an_octave_is_left_only_for_long(frames: int, octaves: float) -> None:
    wav = steady(300, 80)
    place = slice(32 * HOP, (32 + frames) * HOP)
    wav[:, place] += 0.08 * torch.sin(2 * math.pi * 150 / RATE * torch.arange(frames * HOP))
    pitch, _ = track_pitch(wav, RATE, HOP)
    cents = 1200 * (pitch[0] - math.log2(300))
    assert float(cents[10:24].abs().max()) < 25
    assert abs(float(cents[32 + frames // 2]) - 1200 * octaves) < 25
    assert float(cents[-24:-10].abs().max()) < 25


def test_a_glide_in_noise_is_followed() -> None:
    torch.manual_seed(0)
    hertz = 250 * torch.linspace(0, 1, 200 * HOP).exp2()
    wav = voice(hertz)
    noise = 1.4 * torch.randn(8, wav.shape[1]) * wav.square().mean().sqrt()
    pitch, periodicity = track_pitch(wav + noise, RATE, HOP)
    cents = 1200 * (pitch - hertz.reshape(200, HOP).mean(dim=1).log2())[:, 10:-10]
    assert 0.3 < float(periodicity.mean()) < 0.6
    assert float((cents.abs() > 100).float().mean()) < 0.05


def test_noise_and_silence_have_no_pitch() -> None:
    noise, silence = torch.randn(1, 100 * HOP), torch.zeros(1, 100 * HOP)
    for wav, most in ((noise, 0.5), (silence, 0.0), (1e-6 * steady(200, 100), 0.0)):
        pitch, periodicity = track_pitch(wav, RATE, HOP)
        assert float(periodicity.mean()) <= most
        assert float((pitch - MIDDLE).abs().mean()) < 0.1


def test_a_sound_in_noise_keeps_its_pitch_where_it_pauses() -> None:
    wav = steady(300, 60)
    wav[:, 24 * HOP : 36 * HOP] = 0
    pitch, periodicity = track_pitch(wav + 1e-3 * torch.randn_like(wav), RATE, HOP)
    assert float(periodicity[0, 30]) < 0.3
    assert float((pitch[0, 10:50] - math.log2(300)).abs().max()) < 0.25


def test_periodicity_at_a_pitch_is_what_tracking_finds_there_and_has_a_gradient() -> None:
    tone, noise = steady(300, 40), 0.05 * torch.randn(1, 40 * HOP)
    for wav in (tone, noise, tone + noise):
        pitch, periodicity = track_pitch(wav, RATE, HOP)
        sure = periodicity > 0.8  # elsewhere a pitch is smoothed
        found = periodicity_at(wav, pitch, RATE, HOP)
        assert found.shape == periodicity.shape
        torch.testing.assert_close(found[sure], periodicity[sure], atol=0.06, rtol=0)
    pitch = torch.full((1, 40), math.log2(300))
    shares = [float(periodicity_at(one, pitch, RATE, HOP)[0, 20]) for one in (tone, tone + noise)]
    assert shares[0] == pytest.approx(1, abs=0.02)
    assert shares[1] < 0.95
    loud = (tone + noise).requires_grad_()
    (-periodicity_at(loud, pitch, RATE, HOP).sum()).backward()
    assert loud.grad is not None
    assert loud.grad.isfinite().all()
    moved = (loud - 0.02 * loud.grad / loud.grad.abs().max()).detach()
    assert (
        periodicity_at(moved, pitch, RATE, HOP).sum() > periodicity_at(loud, pitch, RATE, HOP).sum()
    )
    silence = torch.zeros(1, 40 * HOP, requires_grad=True)
    periodicity_at(silence, pitch, RATE, HOP).sum().backward()
    assert silence.grad is not None
    assert silence.grad.isfinite().all()


def test_a_decoder_that_drowns_a_voice_in_noise_pays_for_it() -> None:
    codec = make_codec().train()
    wav = steady(300, 40)[:, None]
    head = codec.trunk.get_submodule("decoder.head")
    sizes = codec.trunk.get_submodule("decoder").sizes  # type: ignore[union-attr]
    losses = []
    with torch.no_grad():
        for split in (-8.0, 8.0):
            head.bias[sizes[0] : sizes[0] + sizes[1]] = split  # type: ignore[index, operator]
            losses.append(float(codec(wav).losses["periodicity"]))
    assert losses[0] > 0.4
    assert losses[1] < 0.5 * losses[0]


def test_pulses_have_unit_power_and_their_pitch() -> None:
    pitch = torch.full((1, 60), math.log2(250.0))
    wav = pulses(pitch, running_phase(pitch, RATE, HOP, torch.zeros(1)), RATE, HOP)
    assert wav.shape == (1, 60 * HOP)
    assert float(wav.square().mean()) == pytest.approx(1, abs=0.05)
    found, periodicity = track_pitch(wav, RATE, HOP)
    assert float((found[0, 10:-10] - pitch[0, 10:-10]).abs().max()) < 0.01
    assert float(periodicity[0, 10:-10].min()) > 0.97
    power = torch.fft.rfft(wav[0] * torch.hann_window(wav.shape[1])).abs().square()
    hertz = torch.fft.rfftfreq(wav.shape[1], 1 / RATE)
    near = (hertz / 250 - (hertz / 250).round()).abs() < 0.03
    assert float(power[near].sum() / power.sum()) > 0.99


def test_pulses_are_finite_where_a_pitch_leaps_at_an_end() -> None:
    for octaves in ([6.2, 10.8, 10.8], [10.8, 6.2], [6.2, 10.8], [8.0]):
        pitch = torch.tensor([octaves])
        wav = pulses(pitch, running_phase(pitch, RATE, HOP, torch.zeros(1)), RATE, HOP)
        assert wav.isfinite().all()
        assert float(wav.square().mean()) == pytest.approx(1, abs=0.4)


def test_pulses_go_on_smoothly_while_they_glide() -> None:
    """Frames are joined in phase, and a harmonic that comes in fades in."""
    hertz = 100 * torch.linspace(0, 3, 80).exp2()
    pitch = hertz.log2()[None]
    phase = running_phase(pitch, RATE, HOP, torch.full((1,), 0.3))
    whole = pulses(pitch, phase, RATE, HOP)
    # The same from an oscillator that adds up its frequency sample by sample.
    places = (torch.arange(80 * HOP) + 0.5) / HOP - 0.5
    frame = places.floor().clamp(0, 78).long()
    per_sample = hertz[frame] + (hertz[frame + 1] - hertz[frame]) * (places - frame)
    angle = 2 * math.pi * (per_sample.double() / RATE).cumsum(dim=0)
    shift = 2 * math.pi * 0.3 - float(angle[HOP // 2 - 1 : HOP // 2 + 1].mean())
    first = (angle + shift).cos().float()[HOP:-HOP]
    heard = whole[0, HOP:-HOP]
    close = torch.corrcoef(torch.stack([first, heard]))[0, 1]
    expected = math.sqrt(1 / 30)  # one of about thirty harmonics that are equally loud
    assert float(close) == pytest.approx(expected, abs=0.1)
    assert float(heard.diff().abs().max()) < 2 * float(heard.abs().max())


@pytest.mark.parametrize("audio_channels", [1, 2])
def test_latents_say_the_pitch_and_moving_it_moves_the_sound(audio_channels: int) -> None:
    codec = make_codec(audio_channels)
    latents = codec.encode(steady(220)[:, None].expand(1, audio_channels, -1))
    assert latents.shape == (1, 6, 40)
    assert float((2 ** (latents[0, 4] + MIDDLE))[20]) == pytest.approx(220, abs=2)
    with torch.no_grad():  # as a trained one: what is periodic is loud, and no noise beside it
        codec.trunk.get_submodule("decoder.head").bias.fill_(4.0)
    for octaves in (0.0, 1.0, -0.5):
        moved = codec.transposed(latents, octaves)
        torch.testing.assert_close(moved[:, [0, 1, 2, 3, 5]], latents[:, [0, 1, 2, 3, 5]])
        pitch, periodicity = track_pitch(codec.decode(moved).mean(dim=1), RATE, HOP)
        assert float(pitch[0, 10:-10].median()) == pytest.approx(math.log2(220) + octaves, abs=0.02)
        assert float(periodicity[0, 10:-10].median()) > 0.8


def test_a_pitch_is_transposed_in_the_units_of_scaled_latents_and_ends_at_its_bounds() -> None:
    codec = make_codec()
    codec.set_scale(3 * torch.randn(6, 100) + 1)
    latents = codec.encode(steady(220)[:, None])
    raw = codec.unscaled(codec.transposed(latents, 0.25)) - codec.unscaled(latents)
    torch.testing.assert_close(raw[0, :, 10:-10].mean(dim=1), torch.tensor([0, 0, 0, 0, 0.25, 0]))
    far = codec.unscaled(codec.transposed(latents, 9.0))[0, 4, 10:-10] + MIDDLE
    torch.testing.assert_close(far, torch.full_like(far, math.log2(HIGHEST_HZ)))


def test_a_pitch_counts_for_more_in_latents_than_what_is_learnt() -> None:
    codec = make_codec()
    hertz = 250 * torch.linspace(0, 2, 100 * HOP).exp2()
    wav = voice(hertz)[:, None]
    codec.set_scale(codec.encode(wav)[0])
    std = codec.encode(wav)[0].std(dim=1)
    torch.testing.assert_close(std, torch.tensor([1.0, 1, 1, 1, PITCH_STD, 1]), rtol=0.01, atol=0)
    torch.testing.assert_close(codec.wanted_std[:, 0], torch.tensor([1.0, 1, 1, 1, PITCH_STD, 1]))


def test_a_codec_without_a_pitch_moves_none() -> None:
    plain = VAECodec(VAEConfig(trunk={"encoder_dim": 16, "decoder_dim": 16}))
    assert not plain.tells_pitch
    assert make_codec().tells_pitch
    with pytest.raises(ValueError, match="no pitch that could be moved"):
        plain.transposed(plain.encode(torch.zeros(1, 1, 4096)), 1.0)


def test_chunks_go_on_in_phase() -> None:
    codec = make_codec()
    latents = codec.encode(voice(150 * torch.linspace(0, 1, 100 * HOP).exp2())[:, None])
    whole = codec.decode(latents)
    codec.chunk_frames = 17
    torch.testing.assert_close(codec.decode(latents), whole, atol=1e-4, rtol=1e-3)


def test_a_ring_closes_in_phase() -> None:
    codec = make_codec()
    with torch.no_grad():  # as a trained one: what is periodic is loud, and no noise beside it
        codec.trunk.get_submodule("decoder.head").bias.fill_(4.0)
    latents = codec.encode(steady(217.3)[:, None])
    latents[:, 4] = latents[:, 4, 20:21]
    ring = codec.decode(latents, ring=True)
    turned = codec.decode(latents.roll(13, dims=2), ring=True)
    raw = codec.unrolled(latents, ring=True)
    turns = (raw[0, 4].double() + MIDDLE).exp2().sum() * HOP / RATE
    assert float(turns - turns.round()) == pytest.approx(0, abs=1e-3)
    assert float((raw[0, 4] - latents[0, 4]).abs().max()) < 0.01
    again = codec.decode(latents.repeat(1, 1, 2), ring=True)  # twice round: the same turn by turn
    assert ring.shape == turned.shape
    pitch, _ = track_pitch(again.mean(dim=1), RATE, HOP)
    assert float((pitch[0, 30:50] - raw[0, 4, 0] - MIDDLE).abs().max()) < 0.05


def test_what_a_generator_makes_beyond_bounds_is_decoded() -> None:
    codec = make_codec()
    wild = 50 * torch.randn(1, 6, 30)
    assert codec.decode(wild).isfinite().all()
    assert codec.decode(wild, ring=True).isfinite().all()
    assert codec.decode(wild[..., :1]).isfinite().all()
