"""What every codec promises, over all members of the table and one that a test adds."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toys import ToyCodecConfig

from audiogen.codecs import CODECS, FILES, Codec, CodecConfig, build_codec, load_codec, save_codec
from audiogen.codecs.losses import SpectralDistance, SpectralLossConfig
from audiogen.codecs.mel import MelConfig
from audiogen.codecs.pretrained.dac import DACConfig
from audiogen.codecs.pretrained.encodec import EnCodecConfig
from audiogen.codecs.pretrained.mimi import MimiConfig
from audiogen.codecs.pretrained.oobleck import OobleckConfig
from audiogen.codecs.rvq import RVQConfig
from audiogen.codecs.saved import SavedConfig
from audiogen.codecs.trunk import ConvTrunk
from audiogen.codecs.vae import VAEConfig
from audiogen.schema import ConfigError
from audiogen.seal import seal_folder

pytestmark = pytest.mark.usefixtures("_toys_added")
SMALL = {"sample_rate": 16000, "hop_length": 256}
FOURIER = {
    "type": "fourier",
    "n_fft": 256,
    "stft_hop": 64,
    "num_bands": 16,
    "encoder_dim": 24,
    "encoder_depth": 2,
    "decoder_dim": 24,
    "decoder_depth": 2,
}
HARMONIC = {**FOURIER, "type": "harmonic"}
WAVE = {**FOURIER, "wave_bins": 4}
CONV = {"type": "convnet", "strides": [4, 8, 8], "encoder_dim": 4, "decoder_dim": 32}
MEL = {
    **SMALL,
    "stft_hop": 64,
    "num_bands": 16,
    "decoder_dim": 24,
    "decoder_depth": 2,
    "n_fft": 512,
    "vocoder_n_fft": 256,
    "num_projections": 2,
}
VECTORS = {"type": "residual", "num_codebooks": 3, "vocab_size": 32, "code_dim": 4, "dropout": 0}
SCALARS = {"type": "fsq", "num_codebooks": 2, "levels": [5, 4], "dropout": 0}


def vae(trunk: dict[str, Any], audio_channels: int) -> VAEConfig:
    tree = {**SMALL, "audio_channels": audio_channels, "latent_channels": 4, "trunk": trunk}
    return VAEConfig.model_validate(tree)


def rvq(trunk: dict[str, Any], bottleneck: dict[str, Any], audio_channels: int) -> RVQConfig:
    tree = {
        **SMALL,
        "audio_channels": audio_channels,
        "latent_channels": 8,
        "trunk": trunk,
        "bottleneck": bottleneck,
    }
    return RVQConfig.model_validate(tree)


CONFIGS: list[CodecConfig] = [
    *(vae(FOURIER, count) for count in (1, 2)),
    *(vae(HARMONIC, count) for count in (1, 2)),
    vae(CONV, 1),
    *(rvq(WAVE, VECTORS, count) for count in (1, 2)),
    rvq(FOURIER, SCALARS, 1),
    rvq(HARMONIC, VECTORS, 2),
    rvq(HARMONIC, SCALARS, 1),
    rvq(CONV, VECTORS, 2),
    *(MelConfig.model_validate({**MEL, "audio_channels": count}) for count in (1, 2)),
    *(MelConfig(**MEL, audio_channels=count, vocoder="griffin_lim") for count in (1, 2)),
    ToyCodecConfig(**SMALL),
]
PRETRAINED = {
    "encodec": EnCodecConfig,
    "dac": DACConfig,
    "mimi": MimiConfig,
    "oobleck": OobleckConfig,
}
SAVED = "saved"


def name_of(config: CodecConfig | str) -> str:
    if isinstance(config, str | ToyCodecConfig):
        return config if isinstance(config, str) else config.type
    parts = [config.type, str(config.audio_channels)]
    if isinstance(config, MelConfig):
        return "-".join([*parts, config.vocoder])
    if isinstance(config, RVQConfig):
        parts.append(config.bottleneck.type)
    return "-".join([*parts, config.trunk.type])


def is_random(config: CodecConfig) -> bool:
    """Whether a seed makes a difference."""
    trunk = getattr(config, "trunk", None)
    return isinstance(config, MelConfig) or (trunk is not None and trunk.type != "convnet")


@pytest.fixture(params=[*CONFIGS, *PRETRAINED, SAVED], ids=name_of)
def config(request: pytest.FixtureRequest) -> CodecConfig:
    """Return settings of a codec of our own, one that a test adds, a pretrained or a saved one."""
    found: CodecConfig | str = request.param
    if found == SAVED:
        folder: Path = request.getfixturevalue("tmp_path_factory").mktemp(SAVED)
        save_codec(folder, build_codec(vae(FOURIER, 1)))
        return SavedConfig(path=folder)
    if isinstance(found, str):  # a small network of random weights
        made: CodecConfig = request.getfixturevalue("config_of")(found)
        return made
    return found


@pytest.fixture
def codec(config: CodecConfig) -> Codec:
    return build_codec(config).eval()


TRAINABLE = [config for config in CONFIGS if getattr(config, "vocoder", "") != "griffin_lim"]


@pytest.fixture(params=TRAINABLE, ids=name_of)
def trainable(request: pytest.FixtureRequest) -> Codec:
    """Only the codecs that have something to train, in training mode."""
    return build_codec(request.param).train()


def waves(codec: Codec, frames: int, batch: int = 2) -> Tensor:
    return 0.1 * torch.randn(batch, codec.spec.audio_channels, frames * codec.spec.hop_length)


def test_every_member_of_the_table_is_asked() -> None:
    ours = {type(config) for config in CONFIGS}
    assert ours | set(PRETRAINED.values()) | {SavedConfig} == set(CODECS)


def test_shapes_follow_the_spec(codec: Codec) -> None:
    spec = codec.spec
    wav = waves(codec, 10)
    latents = codec.encode(wav)
    assert latents.shape == (2, spec.channels, 10)
    assert latents.dtype == (torch.float32 if spec.kind == "continuous" else torch.int64)
    assert codec.decode(latents).shape == wav.shape


@pytest.mark.parametrize("length", [1, 255, 256, 257])
def test_any_length_is_filled_up_to_whole_frames(codec: Codec, length: int) -> None:
    wav = 0.1 * torch.randn(1, codec.spec.audio_channels, length)
    frames = -(-length // codec.spec.hop_length)
    assert codec.encode(wav).shape[-1] == frames


def test_chunks_equal_the_whole(codec: Codec) -> None:
    wav = waves(codec, 100, batch=1)
    latents = codec.encode(wav)
    decoded = codec.decode(latents, seeds=[3])
    codec.chunk_frames = 17
    again = codec.encode(wav)
    if codec.spec.kind == "tokens":  # rounding may turn a choice between two equally near entries
        assert float((again == latents).double().mean()) > 0.99
    else:
        torch.testing.assert_close(again, latents, atol=1e-4, rtol=0)
    torch.testing.assert_close(codec.decode(latents, seeds=[3]), decoded, atol=1e-4, rtol=0)


def test_the_contexts_are_needed(codec: Codec) -> None:
    """A chunk test passes trivially when nothing looks beyond a frame; something must."""
    if not codec.encode_context:  # one that sees all, or nothing but its own frame
        return
    wav = waves(codec, 100, batch=1)
    latents = codec.encode(wav)
    codec.chunk_frames, codec.encode_context = 17, 0
    assert not torch.allclose(codec.encode(wav).float(), latents.float(), atol=1e-4)


def test_coding_is_deterministic_and_items_are_independent(codec: Codec) -> None:
    wav = waves(codec, 8, batch=3)
    latents = codec.encode(wav)
    torch.testing.assert_close(codec.encode(wav), latents, atol=0, rtol=0)
    torch.testing.assert_close(codec.encode(wav[1:2]), latents[1:2], atol=1e-5, rtol=1e-5)
    together = codec.decode(latents, seeds=[5, 6, 7])
    alone = codec.decode(latents[1:2], seeds=[6])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)


def test_a_seed_is_another_sound(codec: Codec) -> None:
    latents = codec.encode(waves(codec, 8, batch=1))
    first, again, other = (codec.decode(latents, seeds=[seed]) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert torch.allclose(first, other, atol=1e-4) != is_random(codec.config)


def test_what_is_trained_has_parameters(codec: Codec) -> None:
    assert codec.trainable == any(one.requires_grad for one in codec.parameters())
    assert codec.device == torch.device("cpu")


def test_every_parameter_gets_a_gradient(trainable: Codec) -> None:
    codec = trainable
    output = codec(waves(codec, 16))
    distance = SpectralDistance(SpectralLossConfig(windows_ms=(16,), bin_windows_ms=(16,)), 16000)
    losses = distance(waves(codec, 16), output.reconstructions[0])
    (sum(losses.values()) + sum(output.losses.values())).backward()
    silent = [
        name
        for name, parameter in codec.named_parameters()
        if parameter.grad is None or not bool(parameter.grad.any())
    ]
    assert silent == []


def test_it_learns_one_batch(trainable: Codec) -> None:
    codec = trainable
    slow = any(isinstance(part, ConvTrunk) for part in codec.modules())
    frames, steps = (8, 40) if slow else (32, 80)
    time = torch.arange(frames * codec.spec.hop_length) / codec.spec.sample_rate
    tones = torch.stack([torch.sin(2 * torch.pi * hz * time) for hz in (300, 700)])
    wav = 0.3 * tones[:, None].expand(-1, codec.spec.audio_channels, -1)
    distance = SpectralDistance(SpectralLossConfig(windows_ms=(32, 8), bin_windows_ms=(32,)), 16000)
    optimizer = torch.optim.AdamW(codec.parameters(), lr=5e-3)
    losses = []
    for _ in range(steps):
        output = codec(wav)
        loss = torch.stack(list(distance(wav, *output.reconstructions).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    # An untrained vocoder has the right colours already, and a single matrix can do little.
    assert losses[-1] < (0.5 if hasattr(codec, "trunk") else 0.7) * losses[0]


def test_it_is_the_same_when_saved_and_loaded(
    codec: Codec, config: CodecConfig, tmp_path: Path
) -> None:
    if codec.spec.kind == "continuous":
        codec.set_scale(torch.randn(codec.spec.channels, 50) * 3 + 1)
    save_codec(tmp_path, codec)
    again = load_codec(tmp_path)
    wav = waves(codec, 6)
    latents = codec.encode(wav)
    for name, tensor in codec.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    torch.testing.assert_close(latents, again.encode(wav), atol=1e-6, rtol=0)
    first, second = (one.decode(latents, seeds=[1, 2]) for one in (codec, again))
    # A product may add up in another order where the weights lie elsewhere in memory.
    torch.testing.assert_close(first, second, atol=1e-6, rtol=0)
    assert again.spec == codec.spec
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_a_damaged_config_is_named(codec: Codec, tmp_path: Path) -> None:
    save_codec(tmp_path, codec)
    file = tmp_path / "config.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("hop_length:", "hop_lenght:"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"config.yaml is .*, expected "):
        load_codec(tmp_path)
    seal_folder(tmp_path, FILES)
    with pytest.raises(ConfigError, match=r"hop_lenght: unknown key; did you mean .*hop_length"):
        load_codec(tmp_path)
    file.write_text(text.replace(f"type: {codec.config.type}", "type: mell"), encoding="utf-8")
    seal_folder(tmp_path, FILES)
    with pytest.raises(ConfigError, match=r"type: no type 'mell'; .* did you mean 'mel'") as caught:
        load_codec(tmp_path)
    assert str(file) in str(caught.value)


def test_the_scale_makes_latents_standard(codec: Codec) -> None:
    wav = waves(codec, 200, batch=1)
    pitch = 120 * torch.linspace(0, 2, wav.shape[-1]).double().exp2()
    wav += 0.2 * (2 * math.pi * (pitch / codec.spec.sample_rate).cumsum(dim=0)).sin().float()
    if codec.spec.kind == "tokens":  # they have no scale
        tokens = codec.encode(wav)
        codec.set_scale(tokens[0].float())
        assert torch.equal(codec.encode(wav), tokens)
        return
    reference = codec.decode(codec.encode(wav))
    codec.set_scale(codec.encode(wav)[0])
    latents = codec.encode(wav)[0]
    torch.testing.assert_close(latents.mean(dim=1), torch.zeros(len(latents)), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.std(dim=1), codec.wanted_std[:, 0], atol=0, rtol=1e-3)
    torch.testing.assert_close(codec.decode(latents[None]), reference, atol=5e-4, rtol=1e-4)


def test_wrong_shapes_are_refused(codec: Codec) -> None:
    channels = codec.spec.audio_channels
    with pytest.raises(ValueError, match=rf"expected wav \(B, {channels}, T > 0\)"):
        codec.encode(torch.zeros(1, channels + 1, 1000))
    with pytest.raises(ValueError, match="expected wav"):
        codec.encode(torch.zeros(1, channels, 0))
    with pytest.raises(ValueError, match="expected latents"):
        codec.decode(torch.zeros(1, 99, 3))
    with pytest.raises(ValueError, match="1 items but 2 seeds"):
        codec.decode(torch.zeros(1, codec.spec.channels, 3), seeds=[1, 2])
