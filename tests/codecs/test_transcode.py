"""Files to tokens and back: exact lengths, flat memory, and what is refused."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from audiogen.audio.dsp import resample, to_channels
from audiogen.audio.io.decoding import AudioReadError
from audiogen.audio.io.files import read_audio, write_audio
from audiogen.codecs import build_codec, load_codec, save_codec
from audiogen.codecs.rvq import RVQConfig
from audiogen.codecs.token_files.header import TokenCodec, read_tokens
from audiogen.codecs.token_files.transcode import (
    decode_sounds,
    encode_sounds,
    load_token_codec,
)

RATE, HOP, CODEBOOKS = 16000, 256, 3


def write_codec(folder: Path, *, seed: int = 0, audio_channels: int = 1) -> Path:
    """Write a small untrained codec of tokens, in small chunks; return its folder."""
    config = RVQConfig.model_validate(
        {
            "sample_rate": RATE,
            "audio_channels": audio_channels,
            "hop_length": HOP,
            "latent_channels": 6,
            "trunk": {
                "n_fft": 256,
                "stft_hop": 128,
                "num_bands": 12,
                "encoder_dim": 16,
                "encoder_depth": 1,
                "decoder_dim": 16,
                "decoder_depth": 1,
            },
            "bottleneck": {"num_codebooks": CODEBOOKS, "vocab_size": 27, "code_dim": 4},
        }
    )
    torch.manual_seed(seed)
    codec = build_codec(config)
    folder.mkdir(parents=True)
    save_codec(folder, codec)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with such a codec."""
    run = tmp_path_factory.mktemp("runs") / "rvq"
    write_codec(run / "codec" / "model")
    return run


@pytest.fixture(scope="module")
def stereo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_codec(tmp_path_factory.mktemp("stereo") / "codec", audio_channels=2).parent


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Return a file of 1.3 s at the codec's rate."""
    path = tmp_path / "sounds" / "rain.v1.wav"
    write_audio(path, tones(round(1.3 * RATE) + 7), RATE)
    return path


def name_of(place: Path) -> TokenCodec:
    return load_token_codec(place)[1]


def tones(length: int, channels: int = 1, rate: int = RATE) -> Tensor:
    time = torch.arange(length) / rate
    wav = torch.stack([torch.sin(2 * torch.pi * 300 * (n + 1) * time) for n in range(channels)])
    return 0.2 * wav + 0.05 * torch.randn(channels, length)


def test_a_file_goes_to_tokens_and_back(run: Path, sound: Path, tmp_path: Path) -> None:
    before = sound.read_bytes()
    [encoded] = encode_sounds(run, [sound])
    assert encoded.path == sound.parent / "rain.v1.tokens"
    codec = load_codec(run / "codec" / "model")
    wav, _ = read_audio(sound)
    header, tokens = read_tokens(encoded.path)
    assert torch.equal(tokens.long(), codec.encode(wav[None])[0])
    assert (header.codec.name, header.num_samples, header.source_rate) == (
        "rvq",
        wav.shape[1],
        RATE,
    )
    assert encoded.seconds == wav.shape[1] / RATE
    assert encoded.nominal_kbits == pytest.approx(CODEBOOKS * np.log2(27) * RATE / HOP / 1000)
    size = encoded.path.stat().st_size
    assert encoded.file_kbits == pytest.approx(size * 8 / encoded.seconds / 1000)

    [decoded] = decode_sounds(run, [encoded.path], out=tmp_path / "new" / "out", seed=5)
    assert decoded.path == tmp_path / "new" / "out" / "rain.v1.wav"
    found, rate = read_audio(decoded.path)
    expected = codec.decode(tokens[None].long(), seeds=[5])[0, :, : wav.shape[1]]
    assert rate == RATE
    assert soundfile.info(decoded.path).subtype == "PCM_24"
    torch.testing.assert_close(found, expected.clamp(-1, 1), atol=1e-6, rtol=0)
    assert sound.read_bytes() == before


@pytest.mark.parametrize("chunk", [3, 1024])
@pytest.mark.parametrize("length", [1, HOP, HOP + 1, 20 * HOP - 1])
def test_lengths_are_exact(
    run: Path, tmp_path: Path, length: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audiogen.codecs.base.Codec.chunk_frames", chunk)
    monkeypatch.setattr("audiogen.audio.io.decoding.BLOCK_FRAMES", 700)
    path = tmp_path / "a.flac"
    write_audio(path, tones(length), RATE)
    [encoded] = encode_sounds(run, [path])
    [decoded] = decode_sounds(run, [encoded.path])
    assert soundfile.info(decoded.path).frames == length


@pytest.mark.parametrize(
    ("rate", "channels", "said"),
    [
        (16000, 2, ["rain.wav: stereo mixed to mono"]),
        (44100, 1, ["rain.wav: resampled 44100 -> 16000 Hz"]),
        (8000, 5, ["rain.wav: resampled 8000 -> 16000 Hz", "rain.wav: 5 channels mixed to mono"]),
    ],
)
def test_a_file_of_another_form_is_brought_to_the_codec_s(
    run: Path,
    tmp_path: Path,
    rate: int,
    channels: int,
    said: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("audiogen.audio.io.decoding.BLOCK_FRAMES", 4096)
    path = tmp_path / "rain.wav"
    write_audio(path, tones(rate + 11, channels, rate), rate)
    with caplog.at_level(logging.INFO, logger="audiogen"):
        [encoded] = encode_sounds(run, [path])
        [decoded] = decode_sounds(run, [encoded.path], out=tmp_path / "out")
    sources = [f"rain.wav: at the codec's 16000 Hz; the source had {rate} Hz"]
    assert caplog.messages == said + (sources if rate != RATE else [])
    wav = resample(to_channels(read_audio(path)[0], 1), rate, RATE)
    header, tokens = read_tokens(encoded.path)
    assert (header.num_samples, header.source_rate) == (wav.shape[1], rate)
    assert soundfile.info(decoded.path).frames == wav.shape[1]
    whole = load_codec(run / "codec" / "model").encode(wav[None])[0]
    assert float((tokens.long() == whole).float().mean()) > 0.98  # but for ties


def test_mono_is_copied_for_a_stereo_codec(
    stereo: Path, sound: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="audiogen"):
        [encoded] = encode_sounds(stereo, [sound])
    assert caplog.messages == ["rain.v1.wav: mono copied to stereo"]
    [decoded] = decode_sounds(stereo, [encoded.path])
    assert soundfile.info(decoded.path).channels == 2


def test_fewer_codebooks(run: Path, sound: Path, tmp_path: Path) -> None:
    [whole] = encode_sounds(run, [sound], out=tmp_path / "whole")
    [first] = encode_sounds(run, [sound], out=tmp_path / "first", num_codebooks=1)
    assert torch.equal(read_tokens(first.path)[1], read_tokens(whole.path)[1][:1])
    assert first.nominal_kbits == pytest.approx(whole.nominal_kbits / 3)
    [one] = decode_sounds(run, [first.path])
    [cut] = decode_sounds(run, [whole.path], num_codebooks=1)
    [full] = decode_sounds(run, [whole.path])
    assert one.path.read_bytes() == cut.path.read_bytes() != full.path.read_bytes()
    assert cut.nominal_kbits == pytest.approx(first.nominal_kbits)
    with pytest.raises(ValueError, match="4 codebooks: expected 1 to 3, as many as this codec has"):
        list(encode_sounds(run, [sound], num_codebooks=4))
    with pytest.raises(ValueError, match=r"2 codebooks: expected 1 to 1, .*rain\.v1\.tokens has"):
        list(decode_sounds(run, [first.path], num_codebooks=2))


def test_a_seed_is_another_grain(run: Path, sound: Path, tmp_path: Path) -> None:
    [encoded] = encode_sounds(run, [sound])
    made = [
        next(decode_sounds(run, [encoded.path], out=tmp_path, seed=seed)).path.read_bytes()
        for seed in (1, 1, 2)
    ]
    assert made[0] == made[1] != made[2]


def test_nothing_is_overwritten(run: Path, sound: Path) -> None:
    names = [done.path.name for done in encode_sounds(run, [sound, sound])]
    assert names == ["rain.v1.tokens", "rain.v1-2.tokens"]
    [decoded] = decode_sounds(run, [sound.with_suffix(".tokens")])
    assert decoded.path.name == "rain.v1-2.wav"


def test_a_codec_is_found_in_a_run_in_a_model_and_by_itself(run: Path, tmp_path: Path) -> None:
    model = write_codec(tmp_path / "model" / "codec").parent
    assert name_of(run) == name_of(run / "codec" / "model")
    assert name_of(model) == name_of(run)


def test_a_codec_s_digest_is_that_of_its_weights(run: Path, tmp_path: Path) -> None:
    again, other = write_codec(tmp_path / "again"), write_codec(tmp_path / "other", seed=1)
    assert name_of(again) == name_of(run)
    assert name_of(other).digest != name_of(run).digest


def test_a_codec_that_needs_all_at_once_says_so(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    codec = load_codec(run / "codec" / "model")
    monkeypatch.setattr("audiogen.codecs.token_files.transcode.load_codec", lambda _: codec)
    load_token_codec(run)
    assert caplog.messages == []
    codec.decode_context = None
    load_token_codec(run)
    assert caplog.messages == ["rvq codes a sound as a whole: its memory grows with the length"]


def test_what_has_no_tokens_is_refused(model: Path, tmp_path: Path, sound: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no finished codec here") as missing:
        list(encode_sounds(tmp_path, [sound]))
    folder = model / "generator" / "model"
    with pytest.raises(ValueError, match=r"continuous latents \(vae\)") as continuous:
        list(encode_sounds(folder, [sound]))
    assert str(folder / "codec") in str(continuous.value)
    assert all(len(str(error.value).splitlines()) <= 4 for error in (missing, continuous))


def test_tokens_of_another_codec_are_refused(run: Path, sound: Path, tmp_path: Path) -> None:
    other = write_codec(tmp_path / "other", seed=1)
    [encoded] = encode_sounds(other, [sound])
    with pytest.raises(ValueError, match=r"rain\.v1\.tokens: tokens of another codec") as error:
        list(decode_sounds(run, [encoded.path], out=tmp_path / "out"))
    assert name_of(run).digest in str(error.value)
    assert name_of(other).digest in str(error.value)
    with pytest.raises(ValueError, match="not a token file"):
        list(decode_sounds(run, [sound], out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def silent_rate(path: Path) -> None:
    soundfile.write(path, np.zeros((1, 1)), 48000, subtype="PCM_16", format="WAV")


@pytest.mark.parametrize(
    ("damage", "kind", "said"),
    [
        (cut, AudioReadError, "ends before"),
        (silent_rate, ValueError, r"rain\.v1\.wav: too short, without a sample at the codec's"),
        (Path.unlink, AudioReadError, "no such file"),
    ],
)
def test_a_sound_that_cannot_be_used_leaves_no_file(
    run: Path,
    sound: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    kind: type[ValueError],
    said: str,
) -> None:
    damage(sound)
    with pytest.raises(kind, match=said):
        list(encode_sounds(run, [sound], out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_what_is_too_loud_is_clipped_and_told(
    run: Path, sound: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    [encoded] = encode_sounds(run, [sound])
    decode = type(load_codec(run / "codec" / "model")).decode_chunk

    def loud(*given: Tensor) -> Tensor:
        wav = decode(*given)  # type: ignore[arg-type]
        return 2 * wav / wav.abs().max()

    monkeypatch.setattr("audiogen.codecs.rvq.RVQCodec.decode_chunk", loud)
    [decoded] = decode_sounds(run, [encoded.path])
    assert "beyond full scale: clipped there" in caplog.text
    assert float(read_audio(decoded.path)[0].abs().max()) == pytest.approx(1, abs=1e-6)


def test_a_report_is_one_line(run: Path, sound: Path) -> None:
    [encoded] = encode_sounds(run, [sound])
    line = str(encoded)
    assert line.startswith(f"{encoded.path}: 1.300 s, 0.89 kbit/s (")
    assert line.endswith(" times real time")


MEASURED = """
import resource, sys
from pathlib import Path
from audiogen.codecs.token_files.transcode import decode_sounds, encode_sounds
run, file = Path(sys.argv[1]), Path(sys.argv[2])
for done in encode_sounds(run, [file]):
    list(decode_sounds(run, [done.path]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(run: Path, tmp_path: Path) -> None:
    """Twenty minutes take hardly more than two; as a whole they would be 77 MB in each step."""
    peaks = []
    for minutes in (2, 20):
        path = tmp_path / f"{minutes}.wav"
        second = (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)
        with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
            for _ in range(60 * minutes):
                file.write(second)
        command = [sys.executable, "-c", MEASURED, str(run), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
        assert soundfile.info(tmp_path / f"{minutes}-2.wav").frames == 60 * minutes * RATE
    assert peaks[1] - peaks[0] < 40_000, peaks  # kB
