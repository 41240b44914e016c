"""Damages sound files at random and tells whether a reader was fooled."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from corpus import encoded

from audiogen.audio.io.decoding import AudioReadError, opened

RATE = 16_000
FRAMES = RATE // 4
NOISE = (np.random.default_rng(0).standard_normal((FRAMES, 2)) * 0.1).astype(np.float32)
MP3_FRAMES = 2304  # a decoder's delay, and the padding of the last frame
HEADER = 128  # bytes that are damaged more often than others
NUMBERS = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000)


def seeds() -> dict[str, bytes]:
    """Return healthy files: every format that is read, and the common ways to store samples."""
    mono = NOISE[:, :1]
    how: dict[str, dict[str, Any]] = {
        "wav_16": {"fmt": "WAV"},
        "wav_8_mono": {"fmt": "WAV", "samples": mono, "subtype": "PCM_U8"},
        "wav_24": {"fmt": "WAV", "subtype": "PCM_24"},
        "wav_float": {"fmt": "WAV", "subtype": "FLOAT"},
        "wav_extensible": {"fmt": "WAVEX"},
        "aiff_16": {"fmt": "AIFF"},
        "aiff_float": {"fmt": "AIFF", "subtype": "FLOAT"},
        "flac_16": {"fmt": "FLAC"},
        "flac_24_mono": {"fmt": "FLAC", "samples": mono, "subtype": "PCM_24"},
        "ogg_vorbis": {"fmt": "OGG"},
        "ogg_opus": {"fmt": "OGG", "subtype": "OPUS"},
        "mp3_constant": {"fmt": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 0.3},
        "mp3_varying": {"fmt": "MP3", "bitrate_mode": "VARIABLE", "compression_level": 0.5},
    }
    found = {}
    for name, settings in how.items():
        samples = settings.pop("samples", NOISE)
        if name.startswith("mp3"):  # long enough to tell a lost part from a decoder's delay
            samples = np.tile(samples, (8, 1))
        found[name] = encoded(samples=samples, rate=RATE, **settings)
    return found


@dataclass(frozen=True)
class Mutant:
    """A damaged file: what it was, how it was damaged, and its content."""

    seed: str
    damage: str
    content: bytes

    @property
    def name(self) -> str:
        """Return a file name that says what this is."""
        return f"{self.seed}-{self.damage}"


def mutants(count: int, seed: int = 0) -> Iterator[Mutant]:
    """Yield `count` damaged files, every seed and every kind of damage in turn."""
    random = np.random.default_rng(seed)
    healthy = list(seeds().items())
    kinds = list(DAMAGES.items())
    for number in range(count):
        name, content = healthy[number % len(healthy)]
        kind, damage = kinds[number // len(healthy) % len(kinds)]
        yield Mutant(name, f"{kind}-{number}", damage(content, random))


def _place(size: int, random: np.random.Generator) -> int:
    """Return a place, in the header half of the time."""
    return int(random.integers(min(HEADER, size) if random.random() < 0.5 else size))


def _span(size: int, random: np.random.Generator) -> slice:
    start = _place(size, random)
    return slice(start, start + int(random.integers(1, 400)))


def flip(content: bytes, random: np.random.Generator) -> bytes:
    """Flip one to eight bits."""
    new = bytearray(content)
    for _ in range(random.integers(1, 9)):
        new[_place(len(new), random)] ^= 1 << random.integers(8)
    return bytes(new)


def number(content: bytes, random: np.random.Generator) -> bytes:
    """Write an extreme number over four bytes, or two."""
    value = NUMBERS[random.integers(len(NUMBERS))]
    order = "<>"[random.integers(2)]
    field = (
        struct.pack(order + "I", value)
        if random.random() < 0.6
        else struct.pack(order + "H", value & 0xFFFF)
    )
    place = _place(len(content) - 4, random)
    return content[:place] + field + content[place + len(field) :]


def cut(content: bytes, random: np.random.Generator) -> bytes:
    """End the file early."""
    return content[: _place(len(content), random)]


def delete(content: bytes, random: np.random.Generator) -> bytes:
    """Take a part out."""
    span = _span(len(content), random)
    return content[: span.start] + content[span.stop :]


def insert(content: bytes, random: np.random.Generator) -> bytes:
    """Put random bytes in."""
    span = _span(len(content), random)
    return content[: span.start] + random.bytes(span.stop - span.start) + content[span.start :]


def repeat(content: bytes, random: np.random.Generator) -> bytes:
    """Put a part in twice."""
    span = _span(len(content), random)
    return content[: span.stop] + content[span.start :]


def blank(content: bytes, random: np.random.Generator) -> bytes:
    """Overwrite a part with zeros, as a bad disk does."""
    span = _span(len(content), random)
    length = len(content[span])
    return content[: span.start] + bytes(length) + content[span.start + length :]


def garble(content: bytes, random: np.random.Generator) -> bytes:
    """Overwrite a part with random bytes."""
    span = _span(len(content), random)
    length = len(content[span])
    return content[: span.start] + random.bytes(length) + content[span.start + length :]


DAMAGES = {
    damage.__name__: damage for damage in (flip, number, cut, delete, insert, repeat, blank, garble)
}


def decode(path: Path) -> Mapping[str, Any]:
    """Decode a file in a child process and say what came out of it."""
    frames, peak, finite = 0, 0.0, True
    with opened(path) as audio:
        for block in audio.blocks():
            frames += len(block)
            finite &= bool(np.isfinite(block).all())
            peak = max(peak, float(np.abs(block).max()))
        return {"frames": frames, "channels": audio.channels, "peak": peak, "finite": finite}


def decode_blindly(path: Path) -> Mapping[str, Any]:
    """Decode a file as most programs do, by believing libsndfile."""
    try:
        wav, _ = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioReadError(path, "unreadable", error.error_string) from None
    peak = float(np.abs(wav).max(initial=0))
    finite = bool(np.isfinite(wav).all())
    return {"frames": len(wav), "channels": wav.shape[1], "peak": peak, "finite": finite}


def fooled(mutant: Mutant, result: Mapping[str, Any], healthy: Mapping[str, Any]) -> str:
    """Say what is wrong with an accepted mutant; empty when it is a right sound."""
    if not result["finite"] or result["peak"] > 16:
        return f"samples up to {result['peak']}"
    if result["channels"] != healthy["channels"]:
        return f"{result['channels']} channels"
    slack = MP3_FRAMES + 0.01 * healthy["frames"] if mutant.seed.startswith("mp3") else 0
    if abs(result["frames"] - healthy["frames"]) > slack:
        return f"{result['frames']} frames instead of {healthy['frames']}"
    return ""
