"""Coding piece by piece: it equals coding at once, and takes no more than it needs."""

import itertools
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.codecs.base import Codec, CodecOutput
from audiogen.codecs.chunks import white_frames
from audiogen.codecs.mel import MelCodec, MelConfig
from audiogen.codecs.vae import VAECodec, VAEConfig
from audiogen.types import LatentSpec

HOP, CODEBOOKS, VOCABULARY = 32, 3, 10


class Levels(Codec):
    """The levels of frames as three digits, and noise of these levels; both a little blurred."""

    trainable = False
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.spec = LatentSpec(
            kind="tokens",
            channels=CODEBOOKS,
            vocab_size=VOCABULARY,
            hop_length=HOP,
            sample_rate=8000,
            audio_channels=2,
        )
        self.encode_context, self.decode_context = 2, 1
        self.register_buffer("scale", 0.1 ** torch.arange(1.0, CODEBOOKS + 1)[:, None])

    def encode_chunk(self, wav: Tensor) -> Tensor:
        levels = wav.reshape(wav.shape[0], 2, -1, HOP).abs().mean(dim=(1, 3))[:, None]
        blurred = F.avg_pool1d(levels, 5, stride=1, padding=2).clamp(0, 0.999)
        return (blurred / self.scale).floor().long() % VOCABULARY

    def decode_chunk(self, latents: Tensor, noise: Tensor) -> Tensor:
        levels = (latents * self.scale[: latents.shape[1]]).sum(dim=1, keepdim=True)
        blurred = F.avg_pool1d(levels, 3, stride=1, padding=1)
        return noise * blurred.repeat_interleave(HOP, dim=2)

    def forward(self, wav: Tensor) -> CodecOutput:
        raise NotImplementedError


def build(name: str) -> Codec:
    settings = {"sample_rate": 16000, "audio_channels": 2, "hop_length": 256, "stft_hop": 64}
    sizes = {"num_bands": 16, "n_fft": 512, "decoder_dim": 24, "decoder_depth": 2}
    mel = {**settings, **sizes, "vocoder_n_fft": 256, "num_projections": 2}
    if name == "vae":
        return VAECodec(VAEConfig(sample_rate=16000, audio_channels=2, hop_length=256)).eval()
    if name == "mel":
        return MelCodec(MelConfig.model_validate(mel)).eval()
    if name == "griffin_lim":
        return MelCodec(MelConfig.model_validate({**mel, "vocoder": "griffin_lim"})).eval()
    return Levels()


@pytest.fixture(params=["vae", "mel", "griffin_lim", "levels"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return build(request.param)


@pytest.fixture(params=["vae", "mel", "levels"])
def streamed(request: pytest.FixtureRequest) -> Codec:
    """A codec that decodes in chunks, small ones here."""
    built = build(request.param)
    built.chunk_frames = 17
    return built


@pytest.fixture
def levels() -> Levels:
    return Levels()


def waves(codec: Codec, length: int, batch: int = 1) -> Tensor:
    return 0.3 * torch.randn(batch, codec.spec.audio_channels, length)


@pytest.mark.parametrize(
    ("num_frames", "sizes"), [(2, [1]), (60, [1000, 1, 0, 3]), (60, [100_000]), (60, [255, 257])]
)
def test_encoded_pieces_are_those_of_the_whole(
    codec: Codec, num_frames: int, sizes: list[int]
) -> None:
    codec.chunk_frames = 9
    wav = waves(codec, num_frames * codec.spec.hop_length + 5)
    lengths, left = itertools.cycle(sizes), wav.shape[-1]
    parts = []
    while left > 0:
        parts.append(min(left, next(lengths)))
        left -= parts[-1]
    blocks = wav.split_with_sizes(parts, dim=2)
    pieces = list(codec.encode_pieces(iter(blocks)))
    assert all(piece.shape[2] == 9 for piece in pieces[:-1])
    assert torch.equal(torch.cat(pieces, dim=2), codec.encode(wav))


def test_blocks_are_read_as_they_are_needed(codec: Codec) -> None:
    codec.chunk_frames = 5
    read = []

    def blocks() -> Iterator[Tensor]:
        for number in range(100):
            read.append(number)
            yield waves(codec, codec.spec.hop_length)

    context = codec.encode_context
    assert context is not None
    pieces = codec.encode_pieces(blocks())
    assert read == []
    for number in range(1, 4):
        next(pieces)
        assert len(read) == 5 * number + context


def test_a_codec_may_need_all_to_encode(levels: Levels) -> None:
    wav = waves(levels, 50 * HOP + 3)
    whole = levels.encode(wav)
    levels.chunk_frames, levels.encode_context = 4, None
    blocks = wav.tensor_split(16, dim=2)
    pieces = list(levels.encode_pieces(blocks))
    assert len(pieces) == 1
    assert torch.equal(pieces[0], whole)


def test_blocks_of_another_shape_are_refused(codec: Codec) -> None:
    for blocks in ([torch.zeros(1, 3, 100)], [torch.zeros(1, 2, 9000), torch.zeros(2, 100)]):
        with pytest.raises(ValueError, match=r"encode: expected wav \(B, 2, T > 0\) at"):
            list(codec.encode_pieces(blocks))
    with pytest.raises(ValueError, match="at least one sample, got none"):
        list(codec.encode_pieces([]))


@pytest.mark.parametrize("chunk", [1, 7, 1024])
def test_decoded_pieces_are_those_of_the_whole(codec: Codec, chunk: int) -> None:
    latents = codec.encode(waves(codec, 30 * codec.spec.hop_length, batch=2))
    whole = codec.decode(latents, seeds=[3, 4])
    codec.chunk_frames = chunk
    pieces = list(codec.decode_pieces(latents, seeds=[3, 4]))
    step = 30 if codec.decode_context is None else min(30, chunk)
    assert {piece.shape[2] for piece in pieces[:-1]} <= {step * codec.spec.hop_length}
    assert len(pieces) == -(-30 // step)
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, atol=1e-4, rtol=0)


def test_a_longer_sound_begins_as_a_shorter_one(streamed: Codec) -> None:
    """The noise of a frame does not depend on how many follow, nor on the items beside it."""
    hop, context = streamed.spec.hop_length, streamed.decode_context
    assert context is not None
    latents = streamed.encode(waves(streamed, (context + 90) * hop, batch=2))
    whole = streamed.decode(latents, seeds=[3, 4])
    shorter = streamed.decode(latents[1:, :, : context + 20], seeds=[4])
    begins = slice(0, 20 * hop)
    torch.testing.assert_close(shorter[0, :, begins], whole[1, :, begins], atol=1e-4, rtol=0)


def test_noise_is_drawn_as_it_is_needed(streamed: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, context = [0], streamed.decode_context
    assert context is not None

    def counted(seeds: list[int], shape: tuple[int, int]) -> Iterator[Tensor]:
        for frame in white_frames(seeds, shape):
            drawn[0] += 1
            yield frame

    monkeypatch.setattr("audiogen.codecs.chunks.white_frames", counted)
    num_frames = 10 * 17 + context
    latents = streamed.encode(waves(streamed, num_frames * streamed.spec.hop_length))
    pieces = streamed.decode_pieces(latents)
    for number in range(1, 11):
        next(pieces)
        assert drawn == [17 * number + context]
    list(pieces)
    assert drawn == [num_frames]


def test_noise_is_white(levels: Levels) -> None:
    frames = list(itertools.islice(white_frames([0, 1], (2, HOP)), 1000))
    noise = torch.stack(frames, dim=2).reshape(4, -1)
    assert noise.shape == (4, 1000 * HOP)
    torch.testing.assert_close(noise @ noise.T / noise.shape[1], torch.eye(4), atol=0.02, rtol=0)
    spectrum = torch.fft.rfft(noise, norm="ortho").abs().square()
    bands = spectrum[:, 1:].reshape(4, 20, -1).mean(dim=(0, 2))
    torch.testing.assert_close(bands, torch.ones(20), atol=0.06, rtol=0)


@pytest.mark.parametrize("num_frames", [2, 40])
def test_a_ring_is_the_same_in_pieces(streamed: Codec, num_frames: int) -> None:
    latents = streamed.encode(waves(streamed, num_frames * streamed.spec.hop_length))
    in_pieces = streamed.decode(latents, seeds=[3], ring=True)
    streamed.chunk_frames = 1024
    at_once = streamed.decode(latents, seeds=[3], ring=True)
    torch.testing.assert_close(in_pieces, at_once, atol=1e-4, rtol=0)
    line = streamed.decode(latents, seeds=[3])
    assert not torch.allclose(at_once, line, atol=1e-4)  # it sees around the join
    if num_frames == 40 and isinstance(streamed, Levels):
        middle = slice(HOP, -HOP)
        torch.testing.assert_close(at_once[..., middle], line[..., middle], atol=1e-6, rtol=0)


def test_the_first_codebooks_decode_alone(levels: Levels) -> None:
    tokens = levels.encode(waves(levels, 20 * HOP))
    whole = levels.decode(tokens)
    errors = [float((levels.decode(tokens[:, :k]) - whole).abs().max()) for k in (1, 2, 3)]
    assert errors[0] > errors[1] > errors[2] == 0


def test_tokens_may_be_of_any_integer_type(levels: Levels) -> None:
    tokens = levels.encode(waves(levels, 20 * HOP))
    assert tokens.dtype == torch.int64
    for dtype in (torch.uint8, torch.int16, torch.int32):
        assert torch.equal(levels.decode(tokens.to(dtype)), levels.decode(tokens))


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (torch.zeros(1, 0, 5, dtype=torch.int64), r"expected latents \(B, 1 to 3, L > 0\)"),
        (torch.zeros(1, 4, 5, dtype=torch.int64), r"expected latents \(B, 1 to 3, L > 0\)"),
        (torch.zeros(1, 3, 0, dtype=torch.int64), "expected latents"),
        (torch.full((1, 3, 5), 10), "tokens of 0 to 9, this codec's vocabulary, got 10 to 10"),
        (torch.tensor([[[0, -1, 9]]]), "tokens of 0 to 9, this codec's vocabulary, got -1 to 9"),
        (torch.zeros(1, 3, 5), r"which are integers, got torch\.float32"),
    ],
)
def test_what_are_no_tokens_is_refused_before_anything_is_decoded(
    levels: Levels, tokens: Tensor, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        levels.decode_pieces(tokens)
