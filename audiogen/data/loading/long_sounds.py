"""Recordings too long to be held in memory: read in parts, as `read_clip` reads the whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from audiogen.audio.dsp import loudness_gain, resample, resample_blocks, to_channels
from audiogen.audio.io.decoding import AudioReadError, opened, read_part
from audiogen.audio.io.member import Sound
from audiogen.audio.loudness import LoudnessMeter
from audiogen.types import LatentSpec

LONG_SAMPLES = 300 * 44_100 * 2
"""Of all channels, in the file or at the codec's rate; what has more is read in parts."""
CONTEXT_SECONDS = 0.1
"""On both sides of a part that is resampled: more than the filter reaches at the lowest rate."""
MAX_GAIN_DB = 40.0
"""What is quieter than -63 LUFS stays below the loudness of the others: more gain would bring
its noise to full level."""


@dataclass(frozen=True, kw_only=True)
class LongSound:
    """A recording as wav (C, T) at the codec's rate and channels, at one loudness.

    Attributes:
        sound: where its bytes are.
        sample_rate: of the file, in Hz.
        cancels: its two channels cancel each other; see `to_channels`.
        spec: of the codec.
        num_samples: T.
        gain: that the samples are multiplied by.
    """

    sound: Sound
    sample_rate: int
    cancels: bool
    spec: LatentSpec
    num_samples: int = 0
    gain: float = 1.0

    def blocks(self, *, sha256: str = "") -> Iterator[Tensor]:
        """Yield the whole in blocks (C, n); raises AudioReadError as `opened` does."""

        def mixed() -> Iterator[Tensor]:
            with opened(self.sound, sha256=sha256) as audio:
                for block in audio.blocks():
                    wav = torch.from_numpy(block.T)
                    yield to_channels(wav, self.spec.audio_channels, cancels=self.cancels)

        for wav in resample_blocks(mixed(), self.sample_rate, self.spec.sample_rate):
            if wav.shape[1]:
                yield wav * self.gain

    def part(self, start: int, stop: int) -> Tensor:
        """Return the samples (C, n) from `start` to before `stop`, or to the end.

        Raises:
            AudioReadError: the file has changed since it was measured.
        """
        stop = min(stop, self.num_samples)
        divisor = math.gcd(self.sample_rate, self.spec.sample_rate)
        # Only a whole number of units of the file is one of samples as well.
        unit, own_unit = self.sample_rate // divisor, self.spec.sample_rate // divisor
        context = math.ceil(CONTEXT_SECONDS * self.sample_rate / unit) if unit != own_unit else 0
        first = max(0, start // own_unit - context)
        last = -(-stop // own_unit) + context
        frames = read_part(self.sound, first * unit, (last - first) * unit)
        if len(frames) == 0:
            raise AudioReadError(self.sound, "changed")
        wav = torch.from_numpy(frames.T)
        wav = to_channels(wav, self.spec.audio_channels, cancels=self.cancels)
        wav = resample(wav, self.sample_rate, self.spec.sample_rate)
        wav = wav[:, start - first * own_unit : stop - first * own_unit]
        if wav.shape[1] < stop - start:
            raise AudioReadError(self.sound, "changed")
        return wav * self.gain


@lru_cache(maxsize=4096)  # one pass over hours, checksum and all, for each process
def measure_long(
    sound: Sound, sha256: str, sample_rate: int, spec: LatentSpec, *, cancels: bool
) -> LongSound:
    """Read a recording once, to find its length and gain; empty `sha256` takes any bytes.

    Raises:
        AudioReadError: anything is wrong with the file, or it has changed since intake.
    """
    plain = LongSound(sound=sound, sample_rate=sample_rate, cancels=cancels, spec=spec)
    meter = LoudnessMeter(spec.sample_rate, spec.audio_channels)
    for block in plain.blocks(sha256=sha256):
        meter.add(block)
    return LongSound(
        sound=sound,
        sample_rate=sample_rate,
        cancels=cancels,
        spec=spec,
        num_samples=meter.num_samples,
        gain=loudness_gain(meter.lufs(), meter.peak, max_gain_db=MAX_GAIN_DB),
    )
