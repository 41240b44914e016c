"""Tokens of the harmonic trunk: a pitch has a codebook, which is heard from the second one on."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from voices import HOP, RATE, TRUNK, steady, voice

from audiogen.audio.pitch import MIDDLE, track_pitch
from audiogen.codecs.base import CodecOutput
from audiogen.codecs.rvq import RVQCodec, RVQConfig
from audiogen.schema import ConfigError, parse_config

VOCABULARY = 1024
VECTORS = {"type": "residual", "num_codebooks": 3, "vocab_size": VOCABULARY, "code_dim": 4}
SCALARS = {"type": "fsq", "num_codebooks": 3, "levels": [16, 8, 8]}


def make_codec(audio_channels: int = 1, bottleneck: dict[str, Any] = VECTORS) -> RVQCodec:
    config = RVQConfig.model_validate(
        {
            "sample_rate": RATE,
            "hop_length": HOP,
            "audio_channels": audio_channels,
            "latent_channels": 8,
            "trunk": TRUNK,
            "bottleneck": bottleneck,
        }
    )
    return RVQCodec(config).eval()


def heard(codec: RVQCodec) -> RVQCodec:
    """As a trained one: what is periodic is loud, and no noise beside it."""
    with torch.no_grad():
        codec.trunk.get_submodule("decoder.head").bias.fill_(3.0)
    return codec


@pytest.mark.parametrize("bottleneck", [VECTORS, SCALARS])
def test_the_spec_counts_the_codebook_of_pitches(bottleneck: dict[str, Any]) -> None:
    codec = make_codec(bottleneck=bottleneck)
    assert (codec.spec.channels, codec.spec.vocab_size) == (4, VOCABULARY)
    assert codec.spec.bits_per_second() == RATE / HOP * 4 * 10
    assert codec.encode(steady(220)[None]).shape == (1, 4, 40)


@pytest.mark.parametrize(
    "bottleneck", [{"vocab_size": 15}, {"type": "fsq", "levels": [5, 3]}, {"vocab_size": 2}]
)
def test_a_vocabulary_without_room_for_pitches_is_refused(bottleneck: dict[str, Any]) -> None:
    tree = {"sample_rate": RATE, "hop_length": HOP, "trunk": TRUNK, "bottleneck": bottleneck}
    with pytest.raises(ConfigError, match=r"bottleneck: a codebook of pitches needs at least 16"):
        parse_config(RVQConfig, tree, "codec")
    RVQConfig.model_validate({"bottleneck": bottleneck})  # another trunk has no pitch


@pytest.mark.parametrize("audio_channels", [1, 2])
@pytest.mark.parametrize("bottleneck", [VECTORS, SCALARS])
def test_any_first_codebooks_decode_and_the_second_one_is_the_pitch(
    audio_channels: int, bottleneck: dict[str, Any]
) -> None:
    codec = heard(make_codec(audio_channels, bottleneck))
    wav = steady(220).expand(1, audio_channels, -1)
    tokens = codec.encode(wav)
    shares = []
    for count in range(1, 5):
        decoded = codec.decode(tokens[:, :count])
        assert decoded.shape == wav.shape
        assert decoded.isfinite().all()
        pitch, periodicity = track_pitch(decoded.mean(dim=1), RATE, HOP)
        shares.append(float(periodicity[0, 10:-10].median()))
        if count > 1:
            assert float(pitch[0, 10:-10].median()) == pytest.approx(math.log2(220), abs=0.02)
    assert shares[0] < 0.5
    assert min(shares[1:]) > 0.8


def test_another_pitch_token_is_another_pitch() -> None:
    codec = heard(make_codec())
    assert codec.tells_pitch
    tokens = codec.encode(steady(220)[None])
    assert torch.equal(codec.transposed(tokens, 0.0), tokens)
    assert torch.equal(codec.transposed(tokens[:, :1], 1.0), tokens[:, :1])
    for octaves in (1.0, -0.5):
        moved = codec.transposed(tokens, octaves)
        others = [0, *range(2, tokens.shape[1])]
        assert torch.equal(moved[:, others], tokens[:, others])
        pitch, _ = track_pitch(codec.decode(moved).mean(dim=1), RATE, HOP)
        assert float(pitch[0, 10:-10].median()) == pytest.approx(math.log2(220) + octaves, abs=0.03)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_chunks_go_on_in_phase_and_hold_no_latents(count: int) -> None:
    codec = heard(make_codec())
    tokens = codec.encode(voice(150 * torch.linspace(0, 1, 100 * HOP).exp2())[None])[:, :count]
    whole = codec.decode(tokens)
    codec.chunk_frames = 17
    torch.testing.assert_close(codec.decode(tokens), whole, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(codec.decode(tokens.int()), whole, atol=1e-4, rtol=1e-3)
    unrolled = codec.unrolled(tokens, ring=False)  # of the whole, however long it is
    assert unrolled.shape == (1, max(1, count - 1) + 3, 100)
    assert torch.equal(unrolled[:, 0].long(), tokens[:, 0])


def test_a_ring_closes_in_phase() -> None:
    codec = heard(make_codec())
    tokens = codec.encode(steady(217.3)[None])
    tokens[:] = tokens[..., 20:21]
    raw = codec.unrolled(tokens, ring=True)
    turns = (raw[0, -3] + MIDDLE).exp2().sum() * HOP / RATE
    assert float(turns - turns.round()) == pytest.approx(0, abs=1e-3)
    ring = codec.decode(tokens, ring=True)
    codec.chunk_frames = 17
    torch.testing.assert_close(codec.decode(tokens, ring=True), ring, atol=1e-4, rtol=1e-3)
    again = codec.decode(tokens.repeat(1, 1, 2), ring=True)
    pitch, _ = track_pitch(again.mean(dim=1), RATE, HOP)
    assert float((pitch[0, 30:50] - raw[0, -3, 0] - MIDDLE).abs().max()) < 0.05


def test_any_token_is_decoded() -> None:
    codec = make_codec(2)
    tokens = torch.randint(VOCABULARY, (2, 4, 30))
    for count in range(1, 5):
        for ring in (False, True):
            assert codec.decode(tokens[:, :count], ring=ring).isfinite().all()
        assert codec.decode(tokens[:, :count, :1]).isfinite().all()


@pytest.mark.parametrize(("bottleneck", "own"), [(VECTORS, "commitment"), (SCALARS, "usage")])
def test_the_decoder_learns_from_the_pitch_that_it_will_be_given(
    bottleneck: dict[str, Any], own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = make_codec(2, bottleneck).train()
    given: list[Tensor] = []
    decode_twice = codec.trunk.decode_twice

    def noted(latents: Tensor, wav: Tensor) -> CodecOutput:
        given.append(latents)
        return decode_twice(latents, wav)

    monkeypatch.setattr(codec.trunk, "decode_twice", noted)
    output = codec(steady(223.7).repeat(4, 2, 1))
    assert dataclasses.is_dataclass(output)
    assert set(output.losses) == {"periodicity", "width", own}
    assert codec.pitch is not None
    found = given[0][:, -2:]
    assert torch.equal(codec.pitch.measured(codec.pitch.tokens(found)), found)
    assert not torch.equal(codec.trunk.measure(steady(223.7).expand(1, 2, -1)), found[:1])
    assert finite(output.reconstructions)


def finite(wavs: Sequence[Tensor]) -> bool:
    return all(bool(wav.isfinite().all()) for wav in wavs)
