"""Pretrained codecs against their libraries' own coding, on small networks of random weights."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from audiogen.codecs import Codec, CodecConfig, build_codec, load_codec, save_codec
from audiogen.codecs.pretrained.base import PretrainedCodec
from audiogen.codecs.pretrained.dac import DACConfig
from audiogen.codecs.pretrained.encodec import EnCodecConfig
from audiogen.codecs.pretrained.mimi import Mimi, MimiConfig
from audiogen.codecs.pretrained.oobleck import OobleckConfig
from audiogen.conditioning.text import TEXT_DIM
from audiogen.experiment import ExperimentConfig
from audiogen.generators import build_generator
from audiogen.generators.ode.diffusion import DiffusionConfig
from audiogen.schema import ConfigError, parse_config

TOKENS = ["encodec", "dac", "dac-odd", "mimi"]
FINITE = ["dac", "dac-odd", "mimi", "oobleck"]
ALL = [*TOKENS, "oobleck"]


def waves(codec: Codec, frames: int, batch: int = 2) -> Tensor:
    return 0.3 * torch.randn(batch, codec.spec.audio_channels, frames * codec.spec.hop_length)


def reference(name: str, folder: Path) -> Any:
    """The library's own network, opened by the library alone."""
    kinds = {"encodec": "EncodecModel", "dac": "DacModel", "mimi": "MimiModel"}
    if name == "oobleck":
        diffusers = pytest.importorskip("diffusers")
        return diffusers.AutoencoderOobleck.from_pretrained(folder).eval()
    return getattr(transformers, kinds[name.partition("-")[0]]).from_pretrained(folder).eval()


def own_codes(name: str, network: Any, wav: Tensor) -> Tensor:
    """What the library's own `encode` gives: all its codes, or the means."""
    if name == "encodec":
        codes = network.encode(wav, bandwidth=16.0).audio_codes[0]
    elif name == "oobleck":
        codes = network.encode(wav).latent_dist.mean
    else:
        codes = network.encode(wav).audio_codes
    return torch.as_tensor(codes)


def own_sound(name: str, network: Any, codes: Tensor) -> Tensor:
    """What the library's own `decode` gives, (B, C, T)."""
    if name == "encodec":
        wav = network.decode(codes[None], [None]).audio_values
    elif name == "oobleck":
        wav = network.decode(codes).sample
    else:
        wav = network.decode(audio_codes=codes).audio_values
    return torch.as_tensor(wav if wav.dim() == 3 else wav[:, None])


@pytest.mark.parametrize("name", ALL)
@torch.no_grad()
def test_it_codes_as_its_library(name: str, codec_of: Any, sources: Any) -> None:
    codec, network = codec_of(name), reference(name, sources(name))
    wav = waves(codec, 40)
    latents = codec.encode(wav)
    own = own_codes(name, network, wav)
    if codec.spec.kind == "tokens":
        assert latents.dtype == torch.int64
        assert torch.equal(latents, own)
        assert all(len(book.unique()) > 4 for book in latents.transpose(0, 1))  # they say something
    else:
        torch.testing.assert_close(latents, own, atol=1e-5, rtol=0)
    sound = own_sound(name, network, own)
    decoded = codec.decode(latents)
    assert sound.std() > 1e-3
    assert decoded.shape == wav.shape
    missing = wav.shape[-1] - sound.shape[-1]  # where odd strides are padded on both sides alike
    assert missing == (12 if name == "dac-odd" else 0)
    torch.testing.assert_close(decoded[..., : sound.shape[-1]], sound, atol=1e-5, rtol=0)
    assert not decoded[..., sound.shape[-1] :].any()


@pytest.mark.parametrize("name", TOKENS)
@torch.no_grad()
def test_fewer_codebooks_are_the_first_ones(name: str, codec_of: Any, sources: Any) -> None:
    codec, few = codec_of(name), codec_of(name, num_codebooks=2)
    wav = waves(codec, 20)
    codes = codec.encode(wav)
    assert few.spec.channels == 2
    assert torch.equal(few.encode(wav), codes[:, :2])
    sound = own_sound(name, reference(name, sources(name)), codes[:, :2])
    for decoded in (codec.decode(codes[:, :2]), few.decode(codes[:, :2])):
        torch.testing.assert_close(decoded[..., : sound.shape[-1]], sound, atol=1e-5, rtol=0)
    assert len(few.state_dict()) < len(codec.state_dict())


@pytest.mark.parametrize("name", ALL)
def test_the_spec_is_that_of_the_source(name: str, codec_of: Any) -> None:
    spec = codec_of(name).spec
    continuous = name == "oobleck"
    assert spec.kind == ("continuous" if continuous else "tokens")
    assert (spec.channels, spec.vocab_size) == (4, None if continuous else 16)
    assert spec.audio_channels == (2 if continuous else 1)
    assert (spec.sample_rate, spec.hop_length) == (16000, 30 if name == "dac-odd" else 16)


@pytest.mark.parametrize("name", FINITE)
def test_the_contexts_are_needed(name: str, codec_of: Any) -> None:
    codec = codec_of(name)
    wav = waves(codec, 150, batch=1)
    latents = codec.encode(wav)
    decoded = codec.decode(latents)
    assert codec.encode_context is not None
    assert codec.encode_context < 40  # so that 150 frames of 17 are told apart from the whole
    codec.chunk_frames, codec.encode_context, codec.decode_context = 17, 0, 0
    assert not torch.allclose(codec.encode(wav), latents, atol=1e-5)
    assert not torch.allclose(codec.decode(latents), decoded, atol=1e-5)


def test_encodec_remembers_all_and_is_coded_at_once(codec_of: Any) -> None:
    codec = codec_of("encodec")
    assert codec.encode_context is None
    assert codec.decode_context is None


@pytest.mark.parametrize("name", ALL)
def test_it_is_frozen(name: str, codec_of: Any) -> None:
    codec = codec_of(name)
    assert not codec.trainable
    wav = waves(codec, 4)
    assert torch.equal(codec.train().encode(wav), codec.encode(wav))  # none drops codebooks
    assert not any(part.training for part in codec.train().modules())
    assert not any(parameter.requires_grad for parameter in codec.parameters())
    with pytest.raises(ValueError, match="trained already; it only encodes and decodes"):
        codec(waves(codec, 4))


@pytest.mark.parametrize("name", ALL)
def test_a_saved_codec_needs_no_source(
    name: str, config_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {} if name == "oobleck" else {"num_codebooks": 3}
    config = config_of(name, **kept)
    shutil.copytree(config.source, tmp_path / "source")
    config = config.model_copy(update={"source": str(tmp_path / "source")})
    codec = build_codec(config)
    codec.set_scale(3 * torch.randn(codec.spec.channels, 50) + 1)
    (tmp_path / "saved").mkdir()
    save_codec(tmp_path / "saved", codec)
    shutil.rmtree(tmp_path / "source")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    again = load_codec(tmp_path / "saved")
    wav = waves(codec, 6)
    latents = codec.encode(wav)
    assert torch.equal(latents, again.encode(wav))
    assert torch.equal(codec.decode(latents), again.decode(latents))
    assert again.spec == codec.spec
    assert isinstance(again, PretrainedCodec)
    assert again.config.model_dump(exclude={"network"}) == config.model_dump(exclude={"network"})
    (tmp_path / "again").mkdir()
    save_codec(tmp_path / "again", again)
    for file in ("config.yaml", "weights.safetensors"):
        first, second = (tmp_path / folder / file for folder in ("saved", "again"))
        assert first.read_bytes() == second.read_bytes()


def test_oobleck_is_scaled(codec_of: Any) -> None:
    codec = codec_of("oobleck")
    wav = waves(codec, 300, batch=1)
    raw = codec.encode(wav)
    sound = codec.decode(raw)
    codec.set_scale(raw[0])
    latents = codec.encode(wav)
    torch.testing.assert_close(latents[0].mean(dim=1), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents[0].std(dim=1), torch.ones(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(codec.decode(latents), sound, atol=1e-5, rtol=0)


def test_mimi_can_be_moved_after_use(codec_of: Any) -> None:
    """It keeps codebooks that it computed, which no move of parameters reaches."""
    codec = codec_of("mimi")
    assert isinstance(codec, Mimi)
    tokens = codec.encode(waves(codec, 8))
    assert codec.double().decode(tokens).dtype == torch.float64
    books = [part for part in codec.modules() if hasattr(part, "_embed")]
    assert books
    assert all(book.embed.dtype == torch.float64 for book in books)


# In an experiment


@pytest.mark.parametrize("name", ALL)
def test_a_recipe_may_name_it_beside_a_generator_of_its_kind(name: str, config_of: Any) -> None:
    config = config_of(name)
    stated = config.model_dump(mode="json", exclude={"network", "revision"})
    tree = {"name": "x", "run_dir": "runs/x", "codec": stated}
    fits, other = "autoregressive", "diffusion"
    if name == "oobleck":
        fits, other = other, fits
    tree["generator"] = {"type": fits}
    assert parse_config(ExperimentConfig, tree, source="recipe").codec == config
    tree["generator"] = {"type": other}
    with pytest.raises(ConfigError, match=rf"generator.type={other} models .* the codec gives"):
        parse_config(ExperimentConfig, tree, source="recipe")


@pytest.mark.parametrize("name", ALL)
def test_a_generator_is_built_on_its_spec(name: str, codec_of: Any) -> None:
    codec = codec_of(name)
    small = DiffusionConfig(dim=32, depth=1, num_heads=2)
    if name == "oobleck":
        build_generator(small, codec.spec, TEXT_DIM, 16)
        return
    with pytest.raises(ValueError, match=r"diffusion models continuous latents.* gives tokens"):
        build_generator(small, codec.spec, TEXT_DIM, 16)


def test_the_types_are_told_apart() -> None:
    tree = {"name": "x", "run_dir": "runs/x", "codec": {"type": "encodek"}}
    with pytest.raises(ConfigError, match=r"codec.type: no type 'encodek'.*did you mean 'encodec'"):
        parse_config(ExperimentConfig, tree, source="recipe")
    tree["codec"] = {"type": "oobleck", "num_codebooks": 4}
    with pytest.raises(ConfigError, match=r"unknown key; it belongs to type: .*dac"):
        parse_config(ExperimentConfig, tree, source="recipe")
    configs: list[CodecConfig] = [EnCodecConfig(), DACConfig(), MimiConfig(), OobleckConfig()]
    assert [config.type for config in configs] == ["encodec", "dac", "mimi", "oobleck"]
