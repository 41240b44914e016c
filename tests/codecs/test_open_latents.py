"""What a VAE leaves open is drawn: channels that say nothing stay noise, and are not blown up."""

import pytest
import torch

from audiogen.codecs import build_codec
from audiogen.codecs.mel import MelConfig
from audiogen.codecs.vae import VAECodec, VAEConfig
from audiogen.data.loading.examples import drawn
from audiogen.seeds import numbers_of

TRUNK = {"encoder_dim": 16, "encoder_depth": 1, "decoder_dim": 16, "decoder_depth": 1}
HOP = 256


def make_codec() -> VAECodec:
    torch.manual_seed(0)
    tree = {"sample_rate": 16000, "hop_length": HOP, "latent_channels": 6, "trunk": TRUNK}
    return VAECodec(VAEConfig.model_validate(tree))


def test_training_notes_what_is_open_and_encoding_does_not() -> None:
    codec = make_codec()
    assert float(codec.open_std.max()) == 0
    codec.train()
    for _ in range(300):
        codec(0.1 * torch.randn(2, 1, 8 * HOP))
    with torch.no_grad():
        _, log_variance = codec.posterior(0.1 * torch.randn(8, 1, 40 * HOP))
    found = log_variance.exp().mean(dim=(0, 2))
    torch.testing.assert_close(codec.open_variance[:, 0], found, rtol=0.05, atol=0)
    before = codec.open_variance.clone()
    codec.eval()(0.1 * torch.randn(2, 1, 8 * HOP))
    assert torch.equal(codec.open_variance, before)


def test_draws_have_unit_variance_and_an_empty_channel_is_not_blown_up() -> None:
    codec = make_codec().eval()
    codec.open_variance.fill_(0.04)
    codec.open_variance[0] = 1.0
    latents = torch.randn(6, 5000)
    latents[0] = 1e-3 * latents[0] + 3  # the encoder says nothing there
    latents[5] *= 4
    codec.set_scale(latents)
    encoded = codec.scaled(latents[None])[0]
    made = drawn(encoded, codec.open_std, numbers_of("clip", 0))
    torch.testing.assert_close(made.std(dim=1), torch.ones(6), rtol=0.05, atol=0)
    torch.testing.assert_close(made.mean(dim=1), torch.zeros(6), rtol=0, atol=0.05)
    assert float(encoded[0].std()) < 0.01
    assert float(codec.open_std[0]) == pytest.approx(1, abs=1e-3)
    again = codec.unscaled(codec.scaled(latents[None]))[0]
    torch.testing.assert_close(again, latents, atol=1e-4, rtol=1e-4)
    # Scaling what is scaled changes nothing.
    codec.set_scale(encoded)
    torch.testing.assert_close(codec.scaled(latents[None])[0], encoded, atol=2e-2, rtol=1e-2)


def test_a_draw_is_a_function_of_its_source_and_nothing_is_drawn_where_nothing_is_open() -> None:
    latents, spread = torch.randn(3, 10), torch.tensor([[0.5], [0.0], [0.1]])
    first, again, other = (drawn(latents, spread, numbers_of("clip", seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(first[1], latents[1])
    random = numbers_of("clip", 1)
    assert drawn(latents, None, random) is latents
    assert float(random.random()) == float(numbers_of("clip", 1).random())


def test_only_what_is_random_leaves_anything_open() -> None:
    mel = build_codec(MelConfig(vocoder="griffin_lim"))
    assert mel.open_std is None or float(mel.open_std.max()) == 0
