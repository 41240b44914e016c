"""Clips: audio of manifest rows at the codec's rate and channels, cut to windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from audiogen.audio.dsp import resample, resample_blocks, set_loudness, to_channels
from audiogen.audio.io.files import read_audio
from audiogen.data.loading.long_sounds import (
    LONG_SAMPLES,
    MAX_GAIN_DB,
    LongSound,
    measure_long,
)
from audiogen.data.manifest import ManifestRow
from audiogen.seeds import numbers_of
from audiogen.types import LatentSpec

STEREO_DRAWS = 3
"""How often a codec of stereo hears a stereo recording, for each time that it hears a mono one: in
most sets they are few, and a width is learnt from them alone."""
SPEED_RANGE = 0.04
"""Share by which versions of a sound are faster or slower, at most: two thirds of a semitone."""
SPEED_STEPS = 10_000
"""Speeds are parts of this; as a sample rate it is one that `resample` takes."""


def read_clip(folder: Path, row: ManifestRow, spec: LatentSpec) -> Tensor:
    """Read a whole file as wav (C, T) at the codec's rate and channels, at one loudness.

    Raises:
        AudioReadError: the file has changed since intake.
    """
    wav, sample_rate = read_audio(row.sound(folder), sha256=row.sha256)
    wav = to_channels(resample(wav, sample_rate, spec.sample_rate), spec.audio_channels)
    return set_loudness(wav, spec.sample_rate, max_gain_db=MAX_GAIN_DB)


def long_sound(
    folder: Path, row: ManifestRow, spec: LatentSpec, *, window_seconds: float
) -> LongSound | None:
    """Return a file to be read in parts, or None for one that is held whole: a usual one.

    Args:
        folder: The data folder.
        row: The file's.
        spec: Of the codec.
        window_seconds: What is wanted of the file at once.

    Raises:
        AudioReadError: the file has changed since intake; looked at once in each process.
    """
    rate = max(row.sample_rate, spec.sample_rate)
    held = row.seconds * rate * max(row.channels, spec.audio_channels)
    if held <= LONG_SAMPLES or row.seconds <= 2 * window_seconds:
        return None
    cancels = "inverted_polarity" in row.warnings
    return measure_long(row.sound(folder), row.sha256, row.sample_rate, spec, cancels=cancels)


def read_beginning(folder: Path, row: ManifestRow, spec: LatentSpec, seconds: float) -> Tensor:
    """Read a file as `read_clip` does, cut (C, T) to so many seconds."""
    length = spec.num_samples(seconds)
    sound = long_sound(folder, row, spec, window_seconds=seconds)
    return sound.part(0, length) if sound else read_clip(folder, row, spec)[:, :length]


def in_parts(
    folder: Path, row: ManifestRow, spec: LatentSpec, *, window_seconds: float
) -> tuple[int, Callable[[int, int], Tensor]]:
    """Return the length of a file in samples, and what gives its samples (C, n) by start and stop.

    They are those of `read_clip`; for the arguments see `long_sound`.
    """
    sound = long_sound(folder, row, spec, window_seconds=window_seconds)
    return (sound.num_samples, sound.part) if sound else _in_memory(read_clip(folder, row, spec))


def read_clips(
    folder: Path, rows: Sequence[ManifestRow], spec: LatentSpec, seconds: float
) -> list[Tensor]:
    """Read files as `read_clip` does, cut or filled with silence to one length."""
    length = spec.num_samples(seconds)
    wavs = [read_beginning(folder, row, spec, seconds) for row in rows]
    return [F.pad(wav, (0, length - wav.shape[1])) for wav in wavs]


def thinned(rows: Sequence[ManifestRow], count: int) -> list[ManifestRow]:
    """Return at most `count` rows, evenly spaced."""
    return list(rows[:: max(1, -(-len(rows) // count))])


def versions_of(wav: Tensor, count: int) -> Iterator[Tensor]:
    """Yield a sound, and others that say the same: faster and slower ones (Ko et al. 2015).

    What is gained is another cut into frames, and so other latents or tokens. Every second
    pair has its polarity reversed. None is longer than the sound, (C, T), which is one of `count`.
    """
    for speed, sign in speeds_of(count):
        yield sign * resample(wav, speed, SPEED_STEPS)[:, : wav.shape[1]]


def speeds_of(count: int) -> Iterator[tuple[int, int]]:
    """Yield the speed, in parts of `SPEED_STEPS`, and the sign of each of `versions_of`."""
    yield SPEED_STEPS, 1
    for number in range(1, count):
        place = (number + 1) // 2
        change = round(SPEED_RANGE * SPEED_STEPS * place / (count // 2))
        yield SPEED_STEPS + (change if number % 2 else -change), -1 if place % 2 else 1


def version_length(sound: LongSound, speed: int) -> int:
    """Samples of one of the versions of a long recording; see `versions_of`."""
    return min(sound.num_samples, round(sound.num_samples * SPEED_STEPS / speed))


def version_blocks(sound: LongSound, speed: int, sign: int) -> Iterator[Tensor]:
    """Yield one of the versions of a long recording in blocks (C, n); see `versions_of`."""
    left = sound.num_samples
    for block in resample_blocks(sound.blocks(), speed, SPEED_STEPS):
        if left and block.shape[1]:
            yield sign * block[:, :left]
        left -= min(left, block.shape[1])


@dataclass(frozen=True)
class Position:
    """Which item of which epoch: all that the randomness of an item depends on."""

    epoch: int
    index: int


class ClipDataset(Dataset[Tensor]):
    """Random excerpts of fixed length for codec training; a pure function of seed and position.

    Decoded files are kept in memory up to a limit, so that small sets are decoded once; of long
    recordings nothing is read but what is cut.
    """

    def __init__(
        self,
        folder: Path,
        rows: Sequence[ManifestRow],
        spec: LatentSpec,
        *,
        crop_frames: int,
        seed: int,
        cache_bytes: int = 4 << 30,
    ) -> None:
        self._folder, self._spec, self._seed = folder, spec, seed
        self._length = crop_frames * spec.hop_length
        window = self._length / spec.sample_rate
        # Long files give as many excerpts per epoch as they have windows of about a clip's length.
        self._items = [
            row
            for row in rows
            for _ in range(max(1, round(row.seconds / 4 / window)) * self._draws(row))
        ]
        self._cache: dict[str, Tensor] = {}
        self._free = cache_bytes

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, position: Position) -> Tensor:
        """Excerpt (C, T): random place, gain of 0 to -10 dB, and polarity."""
        row = self._items[position.index]
        random = numbers_of("clip", self._seed, position.epoch, position.index)
        window = self._length / self._spec.sample_rate
        sound = long_sound(self._folder, row, self._spec, window_seconds=window)
        cut: Callable[[int, int], Tensor]
        if sound:
            num_samples, cut = sound.num_samples, sound.part
        else:
            num_samples, cut = _in_memory(self._read(row))
        spare = num_samples - self._length
        start = int(random.integers(max(spare, 0) + 1))
        wav = F.pad(cut(start, start + self._length), (0, max(-spare, 0)))
        gain = 10 ** (-0.5 * random.random())
        sign = 1 - 2 * int(random.integers(2))
        return wav * (gain * sign)

    def _draws(self, row: ManifestRow) -> int:
        return STEREO_DRAWS if min(row.channels, self._spec.audio_channels) > 1 else 1

    def name_of(self, position: Position) -> str:
        """File that an item is cut from."""
        return self._items[position.index].path

    def _read(self, row: ManifestRow) -> Tensor:
        if row.path not in self._cache:
            wav = read_clip(self._folder, row, self._spec)
            if wav.nbytes > self._free:
                return wav
            self._free -= wav.nbytes
            self._cache[row.path] = wav
        return self._cache[row.path]


def _in_memory(wav: Tensor) -> tuple[int, Callable[[int, int], Tensor]]:
    """Length and parts of a sound (C, T) that is held whole."""
    return wav.shape[1], lambda start, stop: wav[:, start:stop]
