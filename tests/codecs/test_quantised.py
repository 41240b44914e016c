"""The latents of a VAE in tokens: what k-means finds, and which codecs it is found for."""

from pathlib import Path

import pytest
import torch
from test_codec_contract import FOURIER, HARMONIC, MEL, vae

from audiogen.codecs import build_codec, find_saved, save_codec
from audiogen.codecs.mel import MelConfig
from audiogen.codecs.quantised import CodebooksConfig, QuantisedCodec, QuantisedConfig
from audiogen.codecs.saved import SavedConfig
from audiogen.codecs.vae import VAECodec

BOOKS = CodebooksConfig(num_codebooks=3, vocab_size=16)


@pytest.fixture
def codec() -> QuantisedCodec:
    """One whose VAE leaves much open in its first number and little in the others."""
    model = build_codec(vae(HARMONIC, 1)).eval()
    assert isinstance(model, VAECodec)
    model.open_variance[:4] = torch.tensor([[1.0], [0.01], [0.01], [0.01]])
    return QuantisedCodec.of(model, BOOKS)


def latents(count: int) -> torch.Tensor:
    return torch.randn(6, count, generator=torch.Generator().manual_seed(3))


def errors(codec: QuantisedCodec, found: torch.Tensor) -> list[torch.Tensor]:
    """Mean square (D,) of what is left over of latents by each number of codebooks."""
    left = found[None, :4] / codec._open_std
    learnt, result = left.clone(), []
    tokens: list[torch.Tensor] = []
    for index, entries in enumerate(codec.entries):
        tokens.append(codec._nearest(index, left.transpose(1, 2)))
        left = left - entries[tokens[-1]].transpose(1, 2)
        told = codec.vae.scaled(
            torch.cat([codec.from_residual(torch.stack(tokens, dim=1)), found[None, 4:]], dim=1)
        )[:, :4]
        torch.testing.assert_close(told / codec._open_std, learnt - left, atol=1e-4, rtol=1e-4)
        result.append((told - found[None, :4]).square().mean(dim=(0, 2)))
    return result


def test_each_codebook_tells_more(codec: QuantisedCodec) -> None:
    found = latents(400)
    before = errors(codec, found)[-1].mean()
    codec.fit(found)
    one, two, three = (float(one[1:].mean()) for one in errors(codec, found))
    assert three < 0.75 * two < 0.75 * 0.75 * one
    assert three < 0.5 * before


def test_what_the_vae_leaves_open_is_told_least(codec: QuantisedCodec) -> None:
    found = latents(400)
    codec.fit(found)
    error = errors(codec, found)[-1]
    assert float(error[0]) > 2 * float(error[1:].max())


def test_the_same_sounds_give_the_same_codebooks(codec: QuantisedCodec) -> None:
    entries = []
    for seed in (2**40, 2**40, 1):
        codec.fit(latents(100), seed=seed)
        entries.append(codec.entries.clone())
    assert torch.equal(entries[0], entries[1])
    assert not torch.equal(entries[0], entries[2])


@pytest.mark.parametrize("count", [1, 5, 16])
def test_fewer_frames_than_entries(codec: QuantisedCodec, count: int) -> None:
    """Each frame has an entry of its own then, and nothing is left over."""
    found = latents(count)
    codec.fit(found)
    assert float(errors(codec, found)[0].max()) < 1e-6


def test_its_vae_stays_as_it_was(codec: QuantisedCodec) -> None:
    before = {name: tensor.clone() for name, tensor in codec.vae.state_dict().items()}
    codec.fit(latents(50))
    assert all(torch.equal(tensor, before[name]) for name, tensor in codec.vae.state_dict().items())
    assert not any(one.requires_grad for one in codec.parameters())


def test_a_saved_vae_is_taken_in_tokens(tmp_path: Path) -> None:
    save_codec(tmp_path, build_codec(vae(FOURIER, 1)))
    asked = SavedConfig.model_validate({"path": tmp_path, "tokens": {"num_codebooks": 2}})
    found = find_saved(asked)
    assert isinstance(found, SavedConfig)
    assert (found.kind, found.family, found.hop_length) == ("tokens", "quantised", 256)
    codec = build_codec(found)
    assert isinstance(codec.config, QuantisedConfig)
    assert (codec.spec.kind, codec.spec.channels, codec.spec.vocab_size) == ("tokens", 2, 1024)
    assert not codec.trainable


def test_other_codecs_are_not(tmp_path: Path) -> None:
    save_codec(tmp_path, build_codec(MelConfig(**MEL)))
    asked = SavedConfig(path=tmp_path, tokens=CodebooksConfig())
    with pytest.raises(ValueError, match=r"codec of type mel\n.*those of type vae"):
        find_saved(asked)
    with pytest.raises(ValueError, match="codec of type mel"):
        build_codec(asked)


def test_a_vae_of_another_rate_is_refused() -> None:
    own = vae(FOURIER, 1)
    with pytest.raises(ValueError, match="sample_rate: expected that of the vae, 16000"):
        QuantisedConfig(vae=own, sample_rate=8000, hop_length=256)


def test_a_pitch_needs_entries() -> None:
    with pytest.raises(ValueError, match="at least 16 entries, got 8"):
        QuantisedConfig.model_validate(
            {
                "sample_rate": 16000,
                "hop_length": 256,
                "vae": vae(HARMONIC, 1).model_dump(),
                "codebooks": {"vocab_size": 8},
            }
        )
