"""Bad and odd sound files, each with the reason it is refused for, or that it is fine.

    python tests/audio/corpus.py FOLDER

writes them all, to be looked at or given to another program.
"""

import io
import os
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

RATE = 22_050
FRAMES = RATE // 2
FINE = "fine"
GENERATOR = np.random.default_rng(0)
NOISE = (GENERATOR.standard_normal((FRAMES, 2)) * 0.1).astype(np.float32)
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 12345\n"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A file of the corpus.

    Attributes:
        make: writes it, or is its content.
        expected: reasons of which one must be given, or `FINE`.
        frames: length of a fine file.
        warnings: that a fine file must get.
    """

    make: Callable[[Path], object] | bytes
    expected: str | set[str] = FINE
    frames: int = FRAMES
    warnings: tuple[str, ...] = ()

    @property
    def reasons(self) -> set[str]:
        """Return what is expected, as a set."""
        return {self.expected} if isinstance(self.expected, str) else self.expected


def encoded(fmt: str, *, samples: np.ndarray = NOISE, rate: int = RATE, **how: object) -> bytes:
    """Return a sound in a format, through a file in memory."""
    memory = io.BytesIO()
    soundfile.write(memory, samples, rate, format=fmt, **how)
    return memory.getvalue()


def pcm(samples: np.ndarray) -> bytes:
    """Return 16-bit samples."""
    return np.round(samples.clip(-1, 1) * 32767).astype("<i2").tobytes()


def wav(
    *,
    channels: int = 2,
    rate: int = RATE,
    data: bytes = b"",
    claim: int | None = None,
    riff: int | None = None,
    tag: int = 1,
    bits: int = 16,
    before: bytes = b"",
    behind: bytes = b"",
    frame: int | None = None,
) -> bytes:
    """Return a WAV made by hand, whose header may lie."""
    data = data or pcm(NOISE[:, :1] if channels == 1 else NOISE)
    width = channels * bits // 8 if frame is None else frame
    per_second = rate * width & 0xFFFFFFFF
    form = struct.pack("<HHIIHH", tag, channels, rate, per_second, width & 0xFFFF, bits)
    size = len(data) if claim is None else claim
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + before
    body += b"data" + struct.pack("<I", size) + data + behind
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body


def rf64(claim: int) -> bytes:
    """Return an RF64 file whose 64-bit header claims so many bytes of samples."""
    content = bytearray(encoded("RF64"))
    place = content.index(b"ds64") + 16
    content[place : place + 8] = struct.pack("<Q", claim)
    return bytes(content)


def flac(total: int | None = None, **changes: int) -> bytes:
    """Return a FLAC file with another number of samples, or other bytes at `at_<place>`."""
    content = bytearray(encoded("FLAC"))
    if total is not None:
        packed = int.from_bytes(content[18:26], "big") >> 36 << 36 | total
        content[18:26] = packed.to_bytes(8, "big")
    for place, value in changes.items():
        content[int(place.removeprefix("at_"))] ^= value
    return bytes(content)


def changed(content: bytes, place: int, value: int) -> bytes:
    """Return content with bits of one byte turned."""
    new = bytearray(content)
    new[place] ^= value
    return bytes(new)


def without_xing(content: bytes) -> bytes:
    """Return an MP3 without the frame that says how many follow."""
    return content[content.index(content[:2], 2) :]


def mp3_in_wav(content: bytes, *, lost: int = 0) -> bytes:
    """Return a WAV of format tag 0x55, as ffmpeg writes it, some bytes of whose end are lost."""
    channels = 1 if content[3] >> 6 == 3 else 2
    form = struct.pack("<HHIIHH", 0x55, channels, RATE, 16000, 576, 0)
    form += struct.pack("<HHIHHH", 12, 1, 2, 576, 1, 0)
    body = b"WAVE"
    for name, chunk in (
        (b"fmt ", form),
        (b"LIST", b"INFOISFT\x0e\0\0\0Lavf60.16.100\0"),
        (b"fact", struct.pack("<I", FRAMES)),
        (b"data", content),
    ):
        body += name + struct.pack("<I", len(chunk)) + chunk + bytes(len(chunk) % 2)
    whole = b"RIFF" + struct.pack("<I", len(body)) + body
    return whole[: len(whole) - lost]


def floats(*, value: float, subtype: str = "FLOAT") -> bytes:
    """Return a float WAV with one special sample."""
    samples = NOISE.astype(np.float64)
    samples[100, 0] = value
    return encoded("WAV", samples=samples, subtype=subtype)


def quiet_then_loud() -> np.ndarray:
    """Return a sound that fools those who guess a length from the first frames."""
    noise = np.tile(NOISE[:, 0], 19)
    return np.concatenate([NOISE[:, 0] * 0.001, noise])


def shaped(shape: Callable[[np.ndarray], np.ndarray], **how: object) -> bytes:
    """Return a 16-bit WAV of a changed noise."""
    return encoded("WAV", samples=shape(NOISE.copy()), **how)


def locked(path: Path) -> None:
    """Write a file that its owner may not read."""
    path.write_bytes(wav())
    path.chmod(0)


MP3 = encoded("MP3")
OGG = encoded("OGG")
CBR = encoded("MP3", bitrate_mode="CONSTANT", compression_level=0.1)
VBR = encoded("MP3", samples=quiet_then_loud(), bitrate_mode="VARIABLE", compression_level=0.5)
FADING = encoded(
    "MP3", samples=quiet_then_loud()[::-1], bitrate_mode="VARIABLE", compression_level=0.5
)
UNREAD = {"unreadable", "truncated", "no_samples"}

BAD: Mapping[str, Case] = {
    "empty.wav": Case(make=b"", expected="empty"),
    "header_12.wav": Case(make=wav()[:12], expected=UNREAD),
    "header_30.wav": Case(make=wav()[:30], expected=UNREAD),
    "header_only.wav": Case(make=wav()[:44], expected={"truncated"}),
    "no_data.wav": Case(make=wav()[:36], expected=UNREAD),
    "truncated.wav": Case(make=wav()[:-1000], expected="truncated"),
    "one_byte_short.wav": Case(make=wav()[:-1], expected="truncated"),
    "odd_chunk_no_pad.wav": Case(  # libsndfile finds no samples behind it
        make=wav(before=b"note\5\0\0\0hello"), expected="unreadable"
    ),
    "data_size_0.wav": Case(make=wav(claim=0), expected={"no_samples", "contradictory"}),
    "tag_cut.wav": Case(
        make=wav(behind=b"LIST\x40\0\0\0INFO"), expected={"contradictory", "truncated"}
    ),
    "data_size_half.wav": Case(make=wav(claim=FRAMES * 2), expected="contradictory"),
    "data_size_odd.wav": Case(make=wav(claim=FRAMES * 4 - 2), expected="contradictory"),
    "channels_0.wav": Case(make=wav(channels=0), expected={"unreadable", "bad_channels"}),
    "channels_9.wav": Case(make=wav(channels=9, data=bytes(9000)), expected="bad_channels"),
    "channels_1024.wav": Case(make=wav(channels=1024, data=bytes(20480)), expected="bad_channels"),
    "channels_65535.wav": Case(
        make=wav(channels=65535), expected={"unreadable", "bad_channels", "contradictory"}
    ),
    "channels_lie.wav": Case(make=wav(channels=1, frame=4), expected="contradictory"),
    "rate_0.wav": Case(make=wav(rate=0), expected={"unreadable", "bad_rate"}),
    "rate_1.wav": Case(make=wav(rate=1), expected="bad_rate"),
    "rate_2G.wav": Case(make=wav(rate=2**31 - 1), expected="bad_rate"),
    "rate_lies.wav": Case(make=changed(wav(), 25, 1), expected="contradictory"),
    "nan.wav": Case(make=floats(value=np.nan), expected="not_finite"),
    "infinite.wav": Case(make=floats(value=-np.inf), expected="not_finite"),
    "huge.wav": Case(make=floats(value=1e30), expected="too_loud"),
    "huge_64.wav": Case(make=floats(value=1e300, subtype="DOUBLE"), expected="not_finite"),
    "flac_2_to_36.flac": Case(make=flac(total=2**36 - 1), expected="implausible_length"),
    "flac_streamed.flac": Case(make=flac(total=0), expected="unknown_length"),
    "flac_half.flac": Case(make=flac(total=FRAMES // 2), expected={"damaged", "contradictory"}),
    "flac_longer.flac": Case(make=flac(total=FRAMES + 1), expected={"truncated", "unreadable"}),
    "flac_flipped.flac": Case(make=flac(at_9000=16), expected={"damaged", "unreadable"}),
    "flac_cut.flac": Case(make=flac()[:9000], expected={"truncated", "unreadable", "damaged"}),
    "flac_head.flac": Case(make=flac()[:30], expected={"truncated", "unreadable"}),
    "ogg_cut.ogg": Case(make=OGG[:-2500], expected="truncated"),
    "ogg_flipped.ogg": Case(make=changed(OGG, len(OGG) // 2, 1), expected="damaged"),
    "ogg_chained.ogg": Case(make=OGG + OGG, expected="several_streams"),
    "mp3_cut.mp3": Case(make=MP3[: len(MP3) // 3], expected={"truncated", "contradictory"}),
    "mp3_head.mp3": Case(make=MP3[:300], expected={"truncated", "unreadable", "contradictory"}),
    "mp3_vbr_no_length.mp3": Case(make=without_xing(FADING), expected="unknown_length"),
    "mp3_in_wav_cut.wav": Case(make=mp3_in_wav(without_xing(CBR), lost=500), expected="truncated"),
    "mp3_in_wav_none.wav": Case(
        make=mp3_in_wav(bytes(4000)), expected={"unreadable", "no_samples"}
    ),
    "mp3_doubled.mp3": Case(make=VBR + without_xing(VBR), expected="contradictory"),
    "id3_giant.mp3": Case(
        make=b"ID3\4\0\0\x7f\x7f\x7f\x7f" + MP3, expected={"unreadable", "no_samples"}
    ),
    "id3_only.mp3": Case(
        make=b"ID3\4\0\0\0\0\x0f\x76" + bytes(2038), expected={"unreadable", "no_samples"}
    ),
    "id3_then.wav": Case(
        make=b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + wav(), expected={"not_audio", "unreadable"}
    ),
    "page.mp3": Case(make=b"<!DOCTYPE html><html>404</html>", expected="not_audio"),
    "text.mp3": Case(make=b"these are not sounds " * 50, expected="not_audio"),
    "data.mp3": Case(make=b'{"error": "not found"}', expected="not_audio"),
    "pointer.wav": Case(make=LFS_POINTER, expected="not_audio"),
    "zeros.flac": Case(make=bytes(5000), expected="not_audio"),
    "random.wav": Case(make=GENERATOR.bytes(5000), expected="not_audio"),
    "aiff_cut.aiff": Case(make=encoded("AIFF")[:9000], expected="truncated"),
    "aiff_frames_lie.aiff": Case(
        make=changed(encoded("AIFF"), 24, 1), expected={"contradictory", "truncated"}
    ),
    "rf64_4_gib.wav": Case(make=rf64(5 << 30), expected="truncated"),
    "caf.wav": Case(make=encoded("CAF"), expected="not_audio"),
    "au.wav": Case(make=encoded("AU"), expected="not_audio"),
    "folder.wav": Case(make=Path.mkdir, expected="not_a_file"),
    "pipe.wav": Case(make=os.mkfifo, expected="not_a_file"),
    "dangling.wav": Case(make=lambda path: path.symlink_to("gone"), expected="missing"),
    "loop.wav": Case(make=lambda path: path.symlink_to(path), expected="unreadable"),
    "locked.wav": Case(make=locked, expected="unreadable"),
    ".DS_Store": Case(make=b"\0\0\0\1Bud1", expected="not_audio"),
    "._fork.wav": Case(make=b"\0\5\x16\7\0\2\0\0Mac OS X", expected="not_audio"),
}
"""No reader may accept these."""

UNUSED: Mapping[str, Case] = {
    "one_sample.wav": Case(make=wav(data=b"\1\2\3\4"), expected="too_short"),
    "silence.wav": Case(make=wav(data=bytes(4 * FRAMES)), expected="silent"),
    "silence.flac": Case(make=encoded("FLAC", samples=NOISE * 0), expected="silent"),
    "constant.wav": Case(make=shaped(lambda wav: wav * 0 + 0.3), expected="silent"),
}
"""Sound files that intake does not use."""

GOOD: Mapping[str, Case] = {
    "plain.wav": Case(make=wav()),
    "streamed.wav": Case(make=wav(claim=0xFFFFFFFF, riff=0xFFFFFFFF)),
    "riff_size_0.wav": Case(make=wav(riff=0)),
    "riff_size_large.wav": Case(make=wav(riff=1 << 20)),
    "tag_behind.wav": Case(make=wav(behind=b"LIST\4\0\0\0INFO")),
    "id3v1_behind.wav": Case(make=wav() + b"TAGSong" + bytes(121)),
    "riff_size_of_header.wav": Case(make=wav(riff=28)),
    "junk_behind.wav": Case(make=wav() + bytes(129)),
    "odd_chunk_padded.wav": Case(make=wav(before=b"note\5\0\0\0hello\0")),
    "odd_tag_no_pad.wav": Case(make=wav(behind=b"note\5\0\0\0hello")),
    "odd_data.wav": Case(
        make=wav(channels=1, bits=8, data=pcm(NOISE)[:FRAMES] + b"\1"), frames=FRAMES + 1
    ),
    "flac_named.wav": Case(make=flac()),
    "flac_24.flac": Case(make=encoded("FLAC", subtype="PCM_24")),
    "flac_no_checksum.flac": Case(make=flac()[:26] + bytes(16) + flac()[42:]),
    "flac_id3.flac": Case(make=b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + flac()),
    "mp3_named.wav": Case(make=MP3),
    "mp3_id3.mp3": Case(make=b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + MP3),
    "mp3_vbr.mp3": Case(make=VBR, frames=20 * FRAMES),
    "mp3_no_length.mp3": Case(make=without_xing(CBR)),
    "mp3_vbr_no_length_quiet.mp3": Case(make=without_xing(VBR), frames=20 * FRAMES),
    "mp3_in_wav.wav": Case(make=mp3_in_wav(without_xing(CBR))),
    "mp3_in_wav_with_length.wav": Case(make=mp3_in_wav(MP3)),
    "mp3_in_wav_vbr.wav": Case(make=mp3_in_wav(without_xing(VBR)), frames=20 * FRAMES),
    "mp3_in_wav_tagged.wav": Case(make=mp3_in_wav(without_xing(CBR)) + b"id3 \4\0\0\0ID3\4"),
    "mp3_tag_behind.mp3": Case(make=MP3 + b"TAG" + bytes(125)),
    "ogg_junk_behind.ogg": Case(make=OGG + b"TAG" + bytes(125)),
    "opus.ogg": Case(
        make=encoded("OGG", samples=np.tile(NOISE, (2, 1)), rate=48_000, subtype="OPUS"),
        frames=2 * FRAMES,
    ),
    "rf64.wav": Case(make=encoded("RF64")),
    "extensible.wav": Case(make=encoded("WAVEX")),
    "big_endian.wav": Case(make=encoded("WAV", endian="BIG")),
    "adpcm.wav": Case(  # the last block is whole
        make=encoded("WAV", samples=NOISE[:, 0], subtype="IMA_ADPCM"), frames=11_187
    ),
    "mu_law.wav": Case(make=encoded("WAV", subtype="ULAW")),
    "float_64.wav": Case(make=encoded("WAV", subtype="DOUBLE")),
    "plain.aiff": Case(make=encoded("AIFF")),
    "float.aiff": Case(make=encoded("AIFF", subtype="FLOAT")),
    "little.aiff": Case(make=encoded("AIFF", endian="LITTLE")),
    "channels_8.wav": Case(make=encoded("WAV", samples=np.tile(NOISE, (1, 4)))),
    "rate_44101.wav": Case(make=wav(rate=44_101), warnings=("odd_rate",)),
    "rate_384k.wav": Case(make=wav(rate=384_000), warnings=("odd_rate", "very_short")),
    "clipped.wav": Case(make=shaped(lambda wav: (wav * 30).clip(-1, 1)), warnings=("clipped",)),
    "inverted.wav": Case(
        make=shaped(lambda wav: wav[:, :1] * [1, -1]), warnings=("inverted_polarity",)
    ),
    "dead_channel.wav": Case(make=shaped(lambda wav: wav * [1, 0]), warnings=("dead_channel",)),
    "mono_as_stereo.wav": Case(
        make=shaped(lambda wav: wav[:, :1] * [1, 1]), warnings=("mono_as_stereo",)
    ),
    "dc.wav": Case(make=shaped(lambda wav: wav + 0.1), warnings=("dc_offset",)),
    "mostly_silent.wav": Case(
        make=shaped(lambda wav: wav * (np.arange(FRAMES) < 900)[:, None]),
        warnings=("mostly_silent",),
    ),
    "very_short.wav": Case(
        make=shaped(lambda wav: wav[:2000]), frames=2000, warnings=("very_short",)
    ),
    "\N{FIRE}\N{HEBREW LETTER ALEF}.wav": Case(make=wav()),
    "\N{RIGHT-TO-LEFT OVERRIDE}vaw.x.wav": Case(make=wav()),
    "x" * 246 + ".wav": Case(make=wav()),
    "new\nline.wav": Case(make=wav()),
    "<b>bold & 'quoted'.wav": Case(make=wav()),
}
"""Odd, but right."""


def write_case(folder: Path, name: str, case: Case) -> Path:
    """Write one file of the corpus; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if isinstance(case.make, bytes):
        path.write_bytes(case.make)
    else:
        case.make(path)
    return path


def write_corpus(folder: Path) -> dict[str, Case]:
    """Write every file of the corpus into a folder; return what is expected of each."""
    cases = {**BAD, **UNUSED, **GOOD}
    for name, case in cases.items():
        write_case(folder, name, case)
    return cases


if __name__ == "__main__":
    for file, wanted in write_corpus(Path(sys.argv[1])).items():
        print(repr(file), " or ".join(sorted(wanted.reasons)))  # noqa: T201 - a script
