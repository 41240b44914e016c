import contextlib
import io
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiogen.audio.io.decoding import AudioReadError, opened
from audiogen.audio.io.files import read_audio, write_audio, write_blocks
from audiogen.audio.measure.inspection import measure_audio

RATE = 8000
NOISE = (np.random.default_rng(0).standard_normal((RATE, 1)) * 0.1).astype(np.float32)
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 12345\n"


def wav_bytes(
    *, channels: int = 1, rate: int = RATE, samples: bytes = b"\1\2" * 800, claim: int | None = None
) -> bytes:
    """Return a 16-bit WAV made by hand, whose header may lie."""
    form = struct.pack("<HHIIHH", 1, channels, rate, 0, 2 * channels & 0xFFFF, 16)
    size = len(samples) if claim is None else claim
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", size) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body


def floats(value: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        samples = NOISE.copy()
        samples[100] = value
        soundfile.write(path, samples, RATE, format="WAV", subtype="FLOAT")

    return write


def encoded(fmt: str) -> bytes:
    """Return a second of noise in a format, through a file in memory."""
    memory = io.BytesIO()
    soundfile.write(memory, NOISE if fmt != "MP3" else NOISE[:, 0], RATE, format=fmt)
    return memory.getvalue()


BAD_BYTES = {
    "empty.wav": (b"", {"empty"}),
    "twelve_bytes.wav": (b"RIFF\0\0\0\0WAVE", {"unreadable"}),
    "header_only.wav": (wav_bytes(samples=b""), {"no_samples"}),
    "short_data.wav": (wav_bytes(claim=160_000), {"truncated"}),
    "one_byte_short.wav": (wav_bytes()[:-1], {"truncated"}),
    "zero_channels.wav": (wav_bytes(channels=0), {"unreadable", "bad_channels"}),
    "1024_channels.wav": (wav_bytes(channels=1024, samples=bytes(40_960)), {"bad_channels"}),
    "65535_channels.wav": (wav_bytes(channels=65535), {"unreadable", "bad_channels"}),
    "rate_0.wav": (wav_bytes(rate=0), {"unreadable", "bad_rate"}),
    "rate_1.wav": (wav_bytes(rate=1), {"bad_rate"}),
    "rate_2G.wav": (wav_bytes(rate=2**31 - 1), {"bad_rate"}),
    "text.mp3": (b"these are not sounds " * 50, {"not_audio"}),
    "page.mp3": (b"<!DOCTYPE html><html><body>404</body></html>", {"not_audio"}),
    "pointer.wav": (LFS_POINTER, {"not_audio"}),
    "zeros.flac": (bytes(5000), {"not_audio"}),
    "id3_only.mp3": (b"ID3\4\0\0\0\0\x0f\x76" + bytes(2038), {"unreadable", "no_samples"}),
    "cut.flac": (encoded("FLAC")[:4000], {"unreadable", "truncated"}),
    "cut.ogg": (encoded("OGG")[:-2500], {"unreadable", "truncated"}),
    "cut.mp3": (encoded("MP3")[:1500], {"truncated"}),
    "cut.aiff": (encoded("AIFF")[:4000], {"truncated"}),
    "cut.rf64": (encoded("RF64")[:4000], {"truncated"}),
}


@pytest.mark.parametrize("name", BAD_BYTES)
def test_bad_bytes_are_refused_with_a_reason(name: str, tmp_path: Path) -> None:
    content, reasons = BAD_BYTES[name]
    path = tmp_path / name
    path.write_bytes(content)
    for reader in (read_audio, measure_audio):
        with pytest.raises(AudioReadError) as caught:
            reader(path)
        assert caught.value.reason in reasons
        assert name in str(caught.value)
        assert len(str(caught.value).splitlines()) <= 4
        assert "does not exist" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(np.nan, "not_finite"), (np.inf, "not_finite"), (-np.inf, "not_finite"), (1e30, "too_loud")],
)
def test_bad_samples_are_refused(value: float, reason: str, tmp_path: Path) -> None:
    floats(value)(tmp_path / "x.wav")
    with pytest.raises(AudioReadError) as caught:
        read_audio(tmp_path / "x.wav")
    assert caught.value.reason == reason


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "dangling.wav").symlink_to(tmp_path / "gone.wav")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    expected = {
        "folder.wav": "not_a_file",
        "pipe.wav": "not_a_file",
        "dangling.wav": "missing",
        "nothing.wav": "missing",
        "loop.wav": "unreadable",
    }
    for name, reason in expected.items():
        with pytest.raises(AudioReadError) as caught:
            read_audio(tmp_path / name)
        assert caught.value.reason == reason


def test_flac_that_claims_hours_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    content = bytearray(encoded("FLAC"))
    content[21] |= 0x0F  # the 36 bits of total samples begin in the low half of byte 21
    content[22:26] = b"\xff\xff\xff\xff"
    (tmp_path / "x.flac").write_bytes(content)
    with pytest.raises(AudioReadError) as caught:
        read_audio(tmp_path / "x.flac")
    assert caught.value.reason == "implausible_length"


@pytest.mark.parametrize("fmt", ["WAV", "AIFF", "FLAC", "OGG", "MP3", "RF64"])
def test_every_format_is_read_whole_whatever_its_suffix(fmt: str, tmp_path: Path) -> None:
    path = tmp_path / "misnamed.mp3"
    path.write_bytes(encoded(fmt))
    wav, rate = read_audio(path)
    assert rate == RATE
    assert wav.dtype == torch.float32
    assert wav.shape == (1, RATE)
    tolerance = 0.5 if fmt in {"OGG", "MP3"} else 1e-3
    assert float((wav[0] - torch.from_numpy(NOISE[:, 0])).abs().max()) < tolerance


@pytest.mark.parametrize(("mode", "fits"), [("CONSTANT", True), ("VARIABLE", False)])
def test_mp3_without_a_length_header_is_whole_or_refused(
    mode: str, fits: bool, tmp_path: Path
) -> None:
    # Quiet, then loud: a decoder that guesses from the first frames is far off.
    samples = np.concatenate([NOISE[:, 0] * 0.001, np.tile(NOISE[:, 0], 19)])
    path = tmp_path / "x.mp3"
    soundfile.write(path, samples, RATE, bitrate_mode=mode, compression_level=0.5)
    content = path.read_bytes()
    if b"Xing" in content[:500]:
        path.write_bytes(content[content.index(content[:2], 2) :])
    if fits:
        assert read_audio(path)[0].shape[1] == pytest.approx(20 * RATE, rel=0.02)
    else:
        with pytest.raises(AudioReadError) as caught:
            read_audio(path)
        assert caught.value.reason in {"unknown_length", "truncated"}


def test_long_healthy_mp3_without_a_length_header_is_not_called_short(tmp_path: Path) -> None:
    samples = np.tile(NOISE, (40, 2))
    path = tmp_path / "x.mp3"
    soundfile.write(path, samples, 44100, bitrate_mode="CONSTANT", compression_level=0.1)
    assert read_audio(path)[0].shape[1] >= len(samples)


def test_a_wav_of_unknown_length_is_read(tmp_path: Path) -> None:
    (tmp_path / "pipe.wav").write_bytes(wav_bytes(claim=0xFFFFFFFF))
    assert read_audio(tmp_path / "pipe.wav")[0].shape == (1, 800)


def test_random_damage_never_passes_as_something_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for fmt in ("WAV", "AIFF", "FLAC", "OGG", "MP3"):
        whole = encoded(fmt)
        for trial in range(40):
            content = bytearray(whole)
            for place in rng.integers(0, min(len(content), 300), 3):
                content[place] = rng.integers(256)
            path = tmp_path / f"{fmt}-{trial}"
            path.write_bytes(content)
            with contextlib.suppress(AudioReadError):  # and nothing else
                wav, rate = read_audio(path)
                assert wav.isfinite().all()
                assert wav.shape[1] > 0
                assert 1 <= wav.shape[0] <= 8
                assert 4000 <= rate <= 768_000


def test_measuring_agrees_with_reading(tmp_path: Path) -> None:
    samples = np.tile(NOISE, (40, 2))  # longer than one block
    samples[:, 1] = 0.5  # a constant swings by nothing
    soundfile.write(tmp_path / "x.wav", samples, RATE, subtype="FLOAT")
    wav, _ = read_audio(tmp_path / "x.wav")
    facts = measure_audio(tmp_path / "x.wav")
    assert torch.equal(wav, torch.from_numpy(samples.T.copy()))
    assert (facts.channels, facts.num_frames, facts.seconds) == (2, 40 * RATE, 40.0)
    assert facts.swing == pytest.approx(float(NOISE.max() - NOISE.min()) / 2)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_written_sound_comes_back_to_24_bits(suffix: str, tmp_path: Path) -> None:
    wav = torch.rand(2, 1000) * 2 - 1
    wav[:, 0], wav[:, 1] = 1.0, -1.0
    path = tmp_path / "new" / f"x{suffix}"
    write_audio(path, wav, 44100, sidecar={"prompt": "Regen ☔ außen", "seed": 7})
    back, rate = read_audio(path)
    assert rate == 44100
    assert soundfile.info(path).subtype == "PCM_24"
    assert float((back - wav).abs().max()) <= 2**-23
    told = json.loads(path.with_suffix(".json").read_text("utf-8"))
    assert len(told.pop("samples_sha256")) == 64  # see test_samples.py
    assert told == {"prompt": "Regen ☔ außen", "seed": 7}
    assert sorted(entry.name for entry in path.parent.iterdir()) == sorted(["x.json", path.name])


@pytest.mark.parametrize(
    ("wav", "rate", "name", "message"),
    [
        (torch.full((1, 9), torch.nan), 44100, "x.wav", "NaN"),
        (torch.full((1, 9), 1.001), 44100, "x.wav", "full scale"),
        (torch.zeros(9), 44100, "x.wav", r"\(C, T\)"),
        (torch.zeros(1, 0), 44100, "x.wav", r"\(C, T\)"),
        (torch.zeros(9, 2), 44100, "x.wav", r"\(C, T\)"),
        (torch.zeros(1, 9), 44, "x.wav", "Hz"),
        (torch.zeros(1, 9), 44100, "x.mp3", "mp3"),
    ],
)
def test_writer_refuses(
    wav: torch.Tensor, rate: int, name: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        write_audio(tmp_path / name, wav, rate, sidecar={})
    assert not list(tmp_path.iterdir())


def test_a_sidecar_that_json_cannot_hold_stops_the_sound_too(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_audio(tmp_path / "x.wav", torch.zeros(1, 9), 44100, sidecar={"loss": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("block", [1000, 1 << 18])
def test_a_file_is_streamed_as_it_is_read(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audiogen.audio.io.decoding.BLOCK_FRAMES", block)
    path = tmp_path / "a.flac"
    write_audio(path, torch.from_numpy(NOISE.T).repeat(2, 1), RATE)
    with opened(path) as audio:
        assert (audio.sample_rate, audio.channels) == (RATE, 2)
        blocks = list(audio.blocks())
    assert max(len(one) for one in blocks) == min(block, RATE)
    assert np.array_equal(np.concatenate(blocks).T, read_audio(path)[0].numpy())


def test_a_stream_is_refused_where_its_fault_shows(tmp_path: Path) -> None:
    with pytest.raises(AudioReadError, match="no such file"), opened(tmp_path / "no.wav"):
        pass
    bad = tmp_path / "nan.wav"
    floats(np.nan)(bad)
    with opened(bad) as audio, pytest.raises(AudioReadError, match="NaN"):
        list(audio.blocks())


def test_written_blocks_are_the_file_of_the_whole(tmp_path: Path) -> None:
    wav = torch.from_numpy(NOISE.T).repeat(2, 1)
    write_audio(tmp_path / "whole.wav", wav, RATE)
    blocks = tmp_path / "new" / "blocks.wav"
    parts = wav.split_with_sizes([1, 0, 4000, RATE - 4001], dim=1)
    peak = write_blocks(blocks, parts, RATE, audio_channels=2, num_samples=RATE)
    assert peak == float(wav.abs().max())
    assert blocks.read_bytes() == (tmp_path / "whole.wav").read_bytes()


def test_blocks_beyond_full_scale_are_clipped_and_told(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    wav = torch.tensor([[0.5, -1.5, 1.25]])
    assert write_blocks(path, [wav], RATE, audio_channels=1, num_samples=3) == 1.5
    torch.testing.assert_close(read_audio(path)[0], wav.clamp(-1, 1), atol=2**-22, rtol=0)


def test_blocks_beyond_what_wav_can_hold_are_rf64(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audiogen.audio.io.files.WAV_BYTES", 2999)
    path = tmp_path / "a.wav"
    for length, magic in ((999, b"RIFF"), (1000, b"RF64")):
        wav = torch.from_numpy(NOISE.T[:, :length].copy())
        write_blocks(path, [wav], RATE, audio_channels=1, num_samples=length)
        assert path.read_bytes()[:4] == magic
        torch.testing.assert_close(read_audio(path)[0], wav, atol=2**-23, rtol=0)


@pytest.mark.parametrize(
    ("block", "said"),
    [(torch.zeros(1, 9), "expected 10 samples, got 9"), (torch.full((1, 10), torch.nan), "NaN")],
)
def test_bad_blocks_leave_what_was_there(tmp_path: Path, block: torch.Tensor, said: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"mine")
    with pytest.raises(ValueError, match=said):
        write_blocks(path, [block], RATE, audio_channels=1, num_samples=10)
    assert path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]
