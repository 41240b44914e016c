"""What decoding a whole file shows: length, level, faults worth a warning, and a fingerprint."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from audiogen.audio.io.decoding import opened
from audiogen.audio.io.member import Sound
from audiogen.audio.measure.fingerprint import Fingerprinter, Words
from audiogen.audio.measure.polarity import INVERTED_CORRELATION

SILENT_SWING = 1e-4  # -80 dBFS: dither and hum of an open input, not a sound
QUIET_PEAK = 1e-3  # -60 dBFS
QUIET_WINDOW_SECONDS = 0.02
MOSTLY = 0.8
FULL_SCALE = 0.9995
CLIPPED_PLACES = 10  # of three samples in a row at full scale, at least,
CLIPPED_SHARE = 1e-4  # and as a share of all samples
DC_OFFSET = 0.02
SAME_CHANNELS = 1e-4  # largest difference
SHORT_SECONDS = 0.2
USUAL_RATES_HZ = frozenset(
    {8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000}
    | {88_200, 96_000, 176_400, 192_000}
)

WARNINGS: Mapping[str, str] = {
    "mono_as_stereo": "all channels are the same: mono stored as stereo",
    "dead_channel": "a channel is silent",
    "inverted_polarity": "left and right cancel each other; mixed to mono, the right one is turned",
    "dc_offset": f"the mean is more than {DC_OFFSET:.0%} of full scale away from zero",
    "clipped": "peaks are cut off at full scale",
    "mostly_silent": f"more than {MOSTLY:.0%} is below -60 dBFS",
    "odd_rate": "an unusual sample rate; it is resampled",
    "very_short": f"shorter than {SHORT_SECONDS:g} s",
}


@dataclass(frozen=True, kw_only=True)
class AudioFacts:
    """What decoding a whole file showed.

    Attributes:
        sample_rate: Hz.
        channels: audio channels.
        num_frames: samples per channel.
        swing: half of maximum minus minimum of the livest channel, 0 for DC.
        warnings: keys of `WARNINGS`.
        fingerprint: see `fingerprint`.
    """

    sample_rate: int
    channels: int
    num_frames: int
    swing: float
    warnings: tuple[str, ...]
    fingerprint: Words

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.num_frames / self.sample_rate


def measure_audio(sound: Sound) -> AudioFacts:
    """Decode a whole file in blocks, so that hours of audio need little memory.

    Raises:
        AudioReadError: as `read_audio`.
    """
    with opened(sound) as audio:
        levels = _Levels(audio.channels, max(1, round(audio.sample_rate * QUIET_WINDOW_SECONDS)))
        fingerprinter = Fingerprinter(audio.sample_rate)
        for block in audio.blocks():
            levels.add(block)
            fingerprinter.add(block)
        fingerprinter.add(np.zeros((0, audio.channels), dtype=np.float32), last=True)
        warnings = levels.warnings()
        if audio.sample_rate not in USUAL_RATES_HZ:
            warnings.append("odd_rate")
        if levels.num_frames < SHORT_SECONDS * audio.sample_rate:
            warnings.append("very_short")
        return AudioFacts(
            sample_rate=audio.sample_rate,
            channels=audio.channels,
            num_frames=levels.num_frames,
            swing=float(levels.swings.max()),
            warnings=tuple(warnings),
            fingerprint=fingerprinter.words(),
        )


class _Levels:
    """Sums over the blocks of a file from which warnings are made."""

    def __init__(self, channels: int, window: int) -> None:
        self.channels = channels
        self.window = window  # samples whose peak decides whether they are quiet
        self.num_frames = self.num_quiet = self.num_clipped = 0
        self.difference = 0.0  # largest, of any channel to the first
        self.low: npt.NDArray[np.float64] = np.full(channels, np.inf)
        self.high: npt.NDArray[np.float64] = np.full(channels, -np.inf)
        self.sums = np.zeros(channels)
        self.products = np.zeros((channels, channels))

    @property
    def swings(self) -> npt.NDArray[np.float64]:
        """Half of maximum minus minimum of every channel."""
        return (self.high - self.low) / 2

    def add(self, block: npt.NDArray[np.float32]) -> None:
        """Take the next samples (n, C)."""
        wav = np.ascontiguousarray(block.T)
        exact = wav.astype(np.float64)
        self.num_frames += wav.shape[1]
        self.low = np.minimum(self.low, wav.min(axis=1))
        self.high = np.maximum(self.high, wav.max(axis=1))
        self.sums += exact.sum(axis=1)
        self.products += exact @ exact.T
        if self.channels > 1:
            self.difference = max(self.difference, float(np.abs(wav[1:] - wav[0]).max()))
        level = np.abs(wav)
        full = level >= FULL_SCALE
        self.num_clipped += int((full[:, 2:] & full[:, 1:-1] & full[:, :-2]).sum())
        starts = np.arange(0, wav.shape[1], self.window)
        peaks = np.maximum.reduceat(level.max(axis=0), starts)
        lengths = np.diff(starts, append=wav.shape[1])
        self.num_quiet += int(lengths[peaks < QUIET_PEAK].sum())

    def warnings(self) -> list[str]:
        """Return the keys of `WARNINGS` that levels decide."""
        means = self.sums / self.num_frames
        silent = self.swings < SILENT_SWING
        found = {
            "mono_as_stereo": self.channels > 1 and self.difference <= SAME_CHANNELS,
            "dead_channel": bool(silent.any() and not silent.all()),
            "inverted_polarity": self._correlation() <= INVERTED_CORRELATION,
            "dc_offset": bool((np.abs(means) > DC_OFFSET).any()),
            "clipped": self.num_clipped
            > max(CLIPPED_PLACES, CLIPPED_SHARE * self.num_frames * self.channels),
            "mostly_silent": self.num_quiet > MOSTLY * self.num_frames,
        }
        return [name for name, is_so in found.items() if is_so]

    def _correlation(self) -> float:
        """Correlation of the two channels of stereo, else 0."""
        if self.channels != 2:
            return 0.0
        covariance = self.products - np.outer(self.sums, self.sums) / self.num_frames
        scale = np.sqrt(covariance[0, 0] * covariance[1, 1])
        return float(covariance[0, 1] / scale) if scale > 0 else 0.0


def inspect_file(sound: Sound) -> Mapping[str, Any]:
    """Decode a file and return its facts and sha256 as JSON, for `facts_of`.

    Raises:
        AudioReadError: it cannot be used.
    """
    facts = measure_audio(sound)
    with sound.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    words = base64.b64encode(facts.fingerprint.astype("<u4").tobytes()).decode("ascii")
    return {**vars(facts), "fingerprint": words, "sha256": sha256}


def facts_of(reply: Mapping[str, Any]) -> AudioFacts:
    """Return the facts in a reply of `inspect_file`."""
    words: Words = np.frombuffer(base64.b64decode(reply["fingerprint"]), dtype="<u4")
    return AudioFacts(
        sample_rate=int(reply["sample_rate"]),
        channels=int(reply["channels"]),
        num_frames=int(reply["num_frames"]),
        swing=float(reply["swing"]),
        warnings=tuple(str(name) for name in reply["warnings"]),
        fingerprint=words,
    )
