"""Settings of trunks and bottlenecks: defaults, what fits together, and messages."""

from pathlib import Path
from typing import Any

import pytest
import torch

from audiogen.codecs import build_codec
from audiogen.codecs.bottlenecks.quantise import FSQConfig, ResidualVQConfig
from audiogen.codecs.losses import SpectralDistance, draw_views, viewed
from audiogen.codecs.rvq import RVQCodec, RVQConfig
from audiogen.codecs.trunk_config import ConvTrunkConfig, FourierTrunkConfig
from audiogen.codecs.vae import VAECodec, VAEConfig
from audiogen.experiment import load_config
from audiogen.schema import ConfigError

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "rvq.yaml"


def test_blocks_without_a_type_are_of_the_default_type() -> None:
    config = RVQConfig.model_validate(
        {
            "trunk": {"decoder_dim": 96},
            "bottleneck": {"num_codebooks": 3},
        }
    )
    assert config.trunk == FourierTrunkConfig(decoder_dim=96)
    assert config.bottleneck == ResidualVQConfig(num_codebooks=3)


def test_overrides_reach_into_trunk_and_bottleneck() -> None:
    codec = load_config(
        RECIPE,
        [
            "train.codec.start=scratch",
            "codec.trunk.type=fourier",
            "codec.trunk.decoder_dim=96",
            "codec.trunk.wave_bins=5",
            "codec.bottleneck.vocab_size=64",
        ],
    ).codec
    assert isinstance(codec, RVQConfig)
    assert isinstance(codec.trunk, FourierTrunkConfig)
    assert codec.trunk.decoder_dim == 96
    assert codec.trunk.wave_bins == 5
    assert codec.bottleneck.num_codebooks == 4  # the recipe's
    other = load_config(
        RECIPE,
        [
            "train.codec.start=scratch",
            "codec.trunk.type=convnet",
            "codec.hop_length=1024",
            "codec.bottleneck={type: fsq, levels: [4, 4]}",
        ],
    ).codec
    assert isinstance(other, RVQConfig)
    assert other.trunk == ConvTrunkConfig()
    assert other.bottleneck == FSQConfig(levels=(4, 4))


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (
            {"hop_length": 1000, "trunk": {"stft_hop": 256}},
            "hop_length=1000 must be a multiple of trunk.stft_hop=256",
        ),
        ({"trunk": {"n_fft": 1000}}, "trunk.n_fft=1000 must be a multiple of trunk.stft_hop=256"),
        (
            {"trunk": {"wave_bins": 1025}},
            "trunk.wave_bins=1025 must be at most hop_length=1024, and hop_length even",
        ),
        (
            {"trunk": {"type": "convnet", "strides": [2, 4]}},
            "hop_length=1024 must be the product of trunk.strides, which is 8",
        ),
        (
            {"trunk": {"type": "convnet", "decoder_dim": 100}},
            "decoder_dim=100 must be a multiple of 16",
        ),
    ],
)
@pytest.mark.parametrize("kind", [VAEConfig, RVQConfig])
def test_settings_that_do_not_fit_are_named(
    kind: type[VAEConfig] | type[RVQConfig], tree: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        kind.model_validate(tree)


def test_mistakes_are_named_by_their_path() -> None:
    with pytest.raises(ConfigError, match=r"codec\.trunk\.decoder_dm: unknown key; did you mean"):
        load_config(RECIPE, ["codec.trunk.decoder_dm=96"])
    with pytest.raises(ConfigError, match=r"codec\.trunk\.type: no type 'convnett'; .*'convnet'"):
        load_config(RECIPE, ["codec.trunk.type=convnett"])
    with pytest.raises(ConfigError, match=r"codec\.bottleneck\.levels: .*belongs to type: fsq"):
        load_config(RECIPE, ["codec.bottleneck.levels=[3, 3]"])


def test_the_spec_and_the_bitrate_follow_the_bottleneck() -> None:
    codec = RVQCodec(
        RVQConfig.model_validate(
            {
                "sample_rate": 16000,
                "hop_length": 512,
                "trunk": {
                    "encoder_dim": 8,
                    "decoder_dim": 8,
                    "encoder_depth": 1,
                    "decoder_depth": 1,
                },
                "bottleneck": {"num_codebooks": 4, "vocab_size": 256},
            }
        )
    )
    assert (codec.spec.kind, codec.spec.channels, codec.spec.vocab_size) == ("tokens", 4, 256)
    assert codec.spec.bits_per_second() == 16000 / 512 * 4 * 8


@pytest.mark.parametrize(
    ("words", "rate", "channels", "hop"),
    [
        ([], 44100, 2, 2048),
        (["codec.sample_rate=22050", "codec.audio_channels=1"], 22050, 1, 1024),
        (["codec.sample_rate=48000"], 48000, 2, 2048),
    ],
)
def test_the_recipe_works_at_another_rate_by_that_setting_alone(
    words: list[str], rate: int, channels: int, hop: int
) -> None:
    small = ["codec.trunk.encoder_depth=1", "codec.trunk.decoder_depth=1"]
    config = load_config(RECIPE.with_name("diffusion-scratch.yaml"), [*small, *words])
    codec = build_codec(config.codec)
    assert (codec.spec.sample_rate, codec.spec.audio_channels) == (rate, channels)
    assert codec.spec.hop_length == hop
    wav = 0.1 * torch.randn(2, channels, 8 * hop)
    assert codec.decode(codec.encode(wav)).shape == wav.shape
    output = codec.train()(wav)
    distance = SpectralDistance(config.train.codec.spectral, rate)
    assert sorted(distance.windows) == [hop // 8, hop // 4, hop // 2, hop, 2 * hop]
    views = draw_views(wav)
    found = distance(*(viewed(one, views) for one in (wav, *output.reconstructions)))
    assert all(value.isfinite() for value in found.values())


def test_weights_are_drawn_as_before() -> None:
    """Encoder first, then decoder: recipes give the models that they gave before."""
    names = [name for name, _ in VAECodec(VAEConfig()).named_parameters()]
    assert names[0] == "trunk.encoder.stack.embed.weight"
    assert names[-1] == "trunk.decoder.head.bias"
