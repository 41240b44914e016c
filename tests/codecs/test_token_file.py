"""Token files: what is written is read, to the bit, and what is not sound is refused."""

import hashlib
import json
import struct
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save
from torch import Tensor

from audiogen.codecs.token_files import packing
from audiogen.codecs.token_files.header import (
    TokenCodec,
    TokenHeader,
    read_tokens,
    require_codec,
    write_tokens,
)
from audiogen.codecs.token_files.packing import bits_per_token, pack, unpack
from audiogen.storage import write_tensors

CODEC = TokenCodec(
    name="rvq",
    digest="0123456789abcdef",
    sample_rate=44100,
    audio_channels=1,
    hop_length=512,
    num_codebooks=4,
    vocab_size=1000,
)
SAMPLES = 100 * 512 - 5


def header_of(codec: TokenCodec, tokens: Tensor, samples: int = SAMPLES) -> TokenHeader:
    return TokenHeader(
        codec=codec,
        num_codebooks=tokens.shape[0],
        num_frames=tokens.shape[1],
        num_samples=samples,
        source_rate=48000,
    )


def random_tokens(num_codebooks: int = 4, num_frames: int = 100, vocab_size: int = 1000) -> Tensor:
    return torch.randint(vocab_size, (num_codebooks, num_frames))


@pytest.fixture
def tokens() -> Tensor:
    return random_tokens()


@pytest.fixture
def header(tokens: Tensor) -> TokenHeader:
    return header_of(CODEC, tokens)


@pytest.fixture
def file(tokens: Tensor, header: TokenHeader, tmp_path: Path) -> Path:
    path = tmp_path / "a.tokens"
    write_tokens(path, tokens, header)
    return path


def lines(error: pytest.ExceptionInfo[ValueError]) -> list[str]:
    return str(error.value).splitlines()


@pytest.mark.parametrize(
    ("vocab_size", "bits"),
    [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (1000, 10), (1024, 10), (1025, 11)],
)
def test_a_token_takes_as_many_bits_as_it_needs(vocab_size: int, bits: int) -> None:
    assert bits_per_token(vocab_size) == bits
    tokens = torch.full((3, 11), vocab_size - 1)
    assert len(pack(tokens, vocab_size)) == -(-3 * 11 * bits // 8)
    assert torch.equal(unpack(pack(tokens, vocab_size), (3, 11), vocab_size).long(), tokens)


def test_bits_lie_frame_by_frame_with_the_highest_first() -> None:
    tokens = torch.tensor([[1, 4, 0], [2, 7, 1]])  # (K, L)
    assert "".join(f"{byte:08b}" for byte in pack(tokens, 8)) == "001010100111000001000000"


@given(
    vocab_size=st.integers(1, 70_000) | st.just(1 << 31),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 70)),
    seed=st.integers(0, 1000),
    block=st.sampled_from([8, 16, 1 << 13]),
)
def test_packing_goes_round_for_any_vocabulary(
    vocab_size: int, shape: tuple[int, int], seed: int, block: int
) -> None:
    source = torch.Generator().manual_seed(seed)
    tokens = torch.randint(vocab_size, shape, generator=source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "BLOCK_FRAMES", block)
        packed = pack(tokens, vocab_size)
        found = unpack(packed, shape, vocab_size)
    assert len(packed) == -(-tokens.numel() * bits_per_token(vocab_size) // 8)
    assert torch.equal(found.long(), tokens)
    assert torch.equal(unpack(packed, shape, vocab_size), found)  # the same bits in blocks


@settings(max_examples=40, deadline=None)
@given(
    vocab_size=st.integers(1, 5000),
    num_codebooks=st.integers(1, 12),
    num_frames=st.integers(1, 300),
    missing=st.integers(0, 511),
)
def test_a_file_goes_round(
    vocab_size: int, num_codebooks: int, num_frames: int, missing: int
) -> None:
    codec = CODEC.model_copy(update={"num_codebooks": 12, "vocab_size": vocab_size})
    tokens = random_tokens(num_codebooks, num_frames, vocab_size)
    samples = num_frames * 512 - missing
    header = header_of(codec, tokens, samples)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new" / "a.tokens"
        write_tokens(path, tokens, header)
        size = path.stat().st_size
        found, again = read_tokens(path)
    assert found == header
    assert torch.equal(again.long(), tokens)
    assert size < 1000 + tokens.numel() * bits_per_token(vocab_size) / 8


def test_a_file_is_read_as_it_was_written(file: Path, tokens: Tensor, header: TokenHeader) -> None:
    found, again = read_tokens(file)
    assert found == header
    assert torch.equal(again.long(), tokens)
    assert again.dtype == torch.int32
    assert (found.num_codebooks, found.num_frames, found.num_samples) == (4, 100, SAMPLES)
    assert found.seconds == pytest.approx(SAMPLES / 44100)
    require_codec(file, found, CODEC)
    assert [path.name for path in file.parent.iterdir()] == ["a.tokens"]


def test_equal_tokens_are_equal_files(file: Path, tokens: Tensor, header: TokenHeader) -> None:
    first = file.read_bytes()
    write_tokens(file, tokens.to(torch.int32), header)
    assert file.read_bytes() == first


def test_a_header_of_another_length_is_refused(tokens: Tensor) -> None:
    with pytest.raises(ValueError, match="51201 samples are not 100 frames of 512"):
        header_of(CODEC, tokens, 51201)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(file: Path, share: float) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"a\.tokens: truncated, or not a token file") as error:
        read_tokens(file)
    assert f"found: {int(share * len(whole))} bytes" in lines(error)[2]
    assert len(lines(error)) <= 4


def test_every_damaged_byte_is_noticed(file: Path) -> None:
    whole = file.read_bytes()
    for place in range(0, len(whole), 7):
        broken = bytearray(whole)
        broken[place] ^= 0x10
        file.write_bytes(bytes(broken))
        with pytest.raises(ValueError, match=r"a\.tokens: ") as error:
            read_tokens(file)
        assert len(lines(error)) <= 4


def rewritten(file: Path, codec: dict[str, object], changes: dict[str, object]) -> None:
    """Change the header of a file by hand, and make its checksum fit."""
    with safe_open(file, framework="numpy") as content:
        written = json.loads(content.metadata()["header"])
        packed = content.get_tensor("tokens")
    fields = {**written, **changes, "codec": {**written["codec"], **codec}}
    del fields["format"], fields["checksum"]
    text = json.dumps(fields, sort_keys=True)
    checksum = hashlib.sha256(text.encode() + packed.tobytes()).hexdigest()[:16]
    metadata = {"header": json.dumps({**written, **fields, "checksum": checksum})}
    file.write_bytes(save({"tokens": packed}, metadata=metadata))


@pytest.mark.parametrize(
    ("codec", "changes", "said"),
    [
        ({}, {"num_samples": 7}, "7 samples are not 100 frames of 512"),
        ({"vocab_size": "some"}, {}, "codec.vocab_size: "),
        ({"digest": "Z"}, {}, "codec.digest: "),
        ({"hop_length": 0}, {}, "codec.hop_length: "),
        ({}, {"colour": "red"}, "colour: unknown key"),
        ({"vocab_size": 1025}, {}, "expected: 550 bytes for .* of rvq 0123456789abcdef, 44100 Hz"),
        ({}, {"num_codebooks": 3}, "header and tokens do not fit"),
        ({}, {"num_codebooks": 5}, "5 codebooks, but its codec is rvq"),
        ({"vocab_size": 513}, {}, "tokens beyond the vocabulary"),
    ],
)
def test_a_header_made_by_hand_is_checked(
    file: Path, codec: dict[str, object], changes: dict[str, object], said: str
) -> None:
    rewritten(file, codec, changes)
    with pytest.raises(ValueError, match=said) as error:
        read_tokens(file)
    assert str(file) in lines(error)[0]
    assert len(lines(error)) <= 4


def test_other_files_are_refused(tmp_path: Path, tokens: Tensor) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(save({"tokens": tokens.numpy()}))
    with pytest.raises(ValueError, match=r"weights\.safetensors: not a token file") as error:
        read_tokens(weights)
    assert lines(error)[1:] == ["  expected: format audiogen-tokens-1", "  found: no format"]
    text = tmp_path / "a.txt"
    text.write_text("hello " * 100, encoding="utf-8")
    half = tmp_path / "half.tokens"
    write_tensors(half, {"tokens": tokens.bfloat16()})
    huge = tmp_path / "huge.tokens"
    huge.write_bytes(struct.pack("<Q", 1 << 60) + json.dumps({}).encode())
    for path in (text, half, huge, tmp_path):
        with pytest.raises(ValueError, match="truncated, or not a token file") as error:
            read_tokens(path)
        assert len(lines(error)) <= 4
    with pytest.raises(FileNotFoundError):
        read_tokens(tmp_path / "none.tokens")


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "fedcba9876543210"},
        {"vocab_size": 1024},
        {"num_codebooks": 3},
        {"sample_rate": 48000},
        {"hop_length": 256},
        {"audio_channels": 2},
    ],
)
def test_another_codec_is_refused(header: TokenHeader, change: dict[str, object]) -> None:
    codec = CODEC.model_copy(update=change)
    with pytest.raises(ValueError, match="tokens of another codec") as error:
        require_codec(Path("a.tokens"), header, codec)
    first, expected, found, _ = lines(error)
    assert first.startswith("a.tokens: ")
    assert expected == f"  expected: {codec}"
    assert found == (
        "  found: rvq 0123456789abcdef, 44100 Hz, 1 channel(s), hop 512, 4 codebook(s) of 1000"
    )


def test_fewer_codebooks_than_the_codec_has_are_its_own(tokens: Tensor) -> None:
    require_codec(Path("a.tokens"), header_of(CODEC, tokens[:2]), CODEC)
