"""Audio files in and out: one reader that trusts no header, one writer that leaves no half file."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from torch import Tensor

from audiogen.audio.containers import find_fault, headerless_mp3_samples
from audiogen.storage import replacing

AUDIO_SUFFIXES: frozenset[str] = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff"})
SAMPLE_RATES_HZ = (4_000, 768_000)
MAX_CHANNELS = 8
MAX_PEAK = 16.0  # decoders and float mixes overshoot 1 a little; beyond this the data are garbage
MAX_FRAMES_PER_BYTE = 1024  # digital silence in FLAC reaches a few hundred
MP3_SLACK_FRAMES = 2 * 1152  # decoder delay, and padding at the end
MP3_SLACK = 0.01  # without a length header the length is estimated from the first frame
BLOCK_FRAMES = 1 << 18
WAV_BYTES = (1 << 32) - 4096  # sizes in a WAV header have 32 bits, and other chunks need some room
CONTAINERS = {".wav": "WAV", ".flac": "FLAC"}
Encoding = Literal["PCM_16", "PCM_24", "FLOAT"]

REASONS: Mapping[str, str] = {
    "missing": "there is no such file, or it is a link to nothing",
    "not_a_file": "a folder, pipe or device, not a file",
    "empty": "the file has 0 bytes",
    "unreadable": "the file cannot be opened or decoded",
    "not_audio": "not WAV, FLAC, Ogg, MP3 or AIFF data, whatever the name says",
    "no_samples": "the file has a header but no samples",
    "bad_rate": "the sample rate is outside 4 kHz to 768 kHz",
    "bad_channels": f"the file has more than {MAX_CHANNELS} channels",
    "unknown_length": "an MP3 of varying bit rate without a length header; convert it to WAV",
    "implausible_length": "the header claims far more audio than the bytes can hold",
    "truncated": "the file ends before the audio that its header announces",
    "not_finite": "samples are NaN or infinite",
    "too_loud": f"samples are beyond {MAX_PEAK:g} times full scale",
}


class AudioReadError(ValueError):
    """A file that cannot be used as audio.

    Attributes:
        reason: code, one of the keys of `REASONS`.
    """

    def __init__(self, path: Path, reason: str, detail: str = "") -> None:
        self.reason = reason
        extra = f" ({detail})" if detail else ""
        super().__init__(f"{path}: {REASONS[reason]}{extra}.")


@dataclass(frozen=True, kw_only=True)
class AudioFacts:
    """What decoding a whole file showed; `swing` is half of maximum minus minimum, 0 for DC."""

    sample_rate: int
    channels: int
    num_frames: int
    swing: float

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.num_frames / self.sample_rate


@dataclass(frozen=True, kw_only=True)
class AudioStream:
    """An open file: its rate in Hz, and its samples once, in blocks (channels, n) float32."""

    sample_rate: int
    channels: int
    blocks: Iterator[Tensor]


def read_audio(path: Path) -> tuple[Tensor, int]:
    """Read a whole file.

    Args:
        path: WAV, FLAC, Ogg, MP3 or AIFF, told by content and not by suffix.

    Returns:
        wav (C, T) float32, where lossy files may overshoot 1 slightly, and the rate in Hz.

    Raises:
        AudioReadError: if anything is wrong with the file; `reason` says what.
    """
    with _opened(path) as file:
        wav = np.empty((file.channels, file.frames), dtype=np.float32)
        end = 0
        for block in _blocks(file, path):
            wav[:, end : end + len(block)] = block.T
            end += len(block)
        rate = int(file.samplerate)
    return torch.from_numpy(wav[:, :end]), rate


@contextmanager
def stream_audio(path: Path) -> Iterator[AudioStream]:
    """Open a file of any length to be read in blocks; the header is checked, samples as they come.

    Raises:
        AudioReadError: as `read_audio`; what only decoding shows is raised by the blocks.
    """
    with _opened(path) as file:
        yield AudioStream(
            sample_rate=int(file.samplerate),
            channels=int(file.channels),
            blocks=(torch.from_numpy(block.T) for block in _blocks(file, path)),
        )


def measure_audio(path: Path) -> AudioFacts:
    """Decode a whole file in blocks, so that hours of audio need little memory.

    Raises:
        AudioReadError: as `read_audio`.
    """
    with _opened(path) as file:
        low = np.full(file.channels, np.inf, dtype=np.float32)
        high = -low
        num_frames = 0
        for block in _blocks(file, path):
            low = np.minimum(low, block.min(axis=0))
            high = np.maximum(high, block.max(axis=0))
            num_frames += len(block)
        return AudioFacts(
            sample_rate=int(file.samplerate),
            channels=int(file.channels),
            num_frames=num_frames,
            swing=float((high - low).max()) / 2,
        )


def write_audio(
    path: Path,
    wav: Tensor,
    sample_rate: int,
    *,
    sidecar: Mapping[str, Any] | None = None,
    encoding: Encoding = "PCM_24",
) -> None:
    """Write WAV or FLAC, whole or not at all.

    Args:
        path: ends in .wav or .flac; missing folders are made.
        wav: (C, T) in [-1, 1], C from 1 to 8, T at least 1.
        sample_rate: Hz.
        sidecar: what to keep beside the sound, as JSON in `path.with_suffix(".json")`.
        encoding: 24 bits; or 16, to the nearest of which samples are rounded; or, in WAV, float,
            which may go beyond full scale.

    Raises:
        ValueError: on another suffix, shape, rate, NaN, or samples beyond full scale.
    """
    container = CONTAINERS.get(path.suffix.lower())
    if container is None:
        raise ValueError(f"{path}: write_audio writes .wav and .flac, not {path.suffix!r}.")
    low, high = SAMPLE_RATES_HZ
    if not low <= sample_rate <= high:
        raise ValueError(f"{path}: the rate must be {low} to {high} Hz, got {sample_rate}.")
    if wav.ndim != 2 or not 1 <= wav.shape[0] <= MAX_CHANNELS or wav.shape[1] == 0:
        raise ValueError(f"{path}: expected wav (C, T), C up to 8, got {tuple(wav.shape)}.")
    samples = wav.detach().to("cpu", torch.float32).numpy()
    if not np.isfinite(samples).all():
        raise ValueError(f"{path}: wav has NaN or infinite samples; nothing was written.")
    peak = float(np.abs(samples).max())
    if peak > 1 and encoding != "FLOAT":
        raise ValueError(
            f"{path}: wav peaks at {peak:.3f}, beyond full scale; set its loudness first."
        )
    # The sidecar comes first: a sound that exists then always has one.
    if sidecar is not None:
        text = json.dumps(dict(sidecar), indent=2, ensure_ascii=False, allow_nan=False)
        with replacing(path.with_suffix(".json")) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    if encoding == "PCM_16":  # libsndfile would round towards minus infinity
        samples = (samples * 32768).round().clip(-32768, 32767).astype(np.int16)
    with replacing(path) as temporary:
        soundfile.write(temporary, samples.T, sample_rate, format=container, subtype=encoding)


def write_blocks(
    path: Path, blocks: Iterable[Tensor], sample_rate: int, *, audio_channels: int, num_samples: int
) -> float:
    """Write 24-bit WAV of any length from blocks, whole or not at all.

    Beyond 4 GiB it is RF64 (EBU Tech 3306), which differs from WAV in the size fields alone.

    Args:
        path: missing folders are made.
        blocks: (audio_channels, n) in [-1, 1]; what is beyond is clipped.
        sample_rate: Hz.
        audio_channels: C, 1 to 8.
        num_samples: of all blocks together.

    Returns:
        The peak; above 1 something was clipped.

    Raises:
        ValueError: samples are NaN or infinite, or not `num_samples`; nothing was written.
    """
    peak, written = 0.0, 0
    is_long = num_samples * audio_channels * 3 > WAV_BYTES
    with (
        replacing(path) as temporary,
        soundfile.SoundFile(
            temporary,
            mode="w",
            samplerate=sample_rate,
            channels=audio_channels,
            format="RF64" if is_long else "WAV",
            subtype="PCM_24",
        ) as file,
    ):
        for block in blocks:
            samples = block.detach().to("cpu", torch.float32).numpy()
            peak = max(peak, float(np.abs(samples).max(initial=0)))
            if not np.isfinite(samples).all():
                raise ValueError(f"{path}: wav has NaN or infinite samples; nothing was written.")
            file.write(samples.T)
            written += samples.shape[1]
        if written != num_samples:
            raise ValueError(f"{path}: expected {num_samples} samples, got {written}.")
    return peak


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open a file whose header looks sound; every failure is an `AudioReadError`."""
    size, mp3_samples = _checked_on_disk(path)
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        # For MPEG data without a frame libsndfile says that the file does not exist; it does.
        said = error.error_string.strip(" .")
        detail = "no frame of audio in it" if "does not exist" in said else said
        raise AudioReadError(path, "unreadable", detail) from None
    with file:
        low, high = SAMPLE_RATES_HZ
        if not low <= file.samplerate <= high:
            raise AudioReadError(path, "bad_rate", f"{file.samplerate} Hz")
        if file.channels > MAX_CHANNELS:
            raise AudioReadError(path, "bad_channels", f"{file.channels}")
        if file.frames <= 0:
            raise AudioReadError(path, "no_samples")
        if file.frames > size * MAX_FRAMES_PER_BYTE:
            detail = f"{file.frames} frames in {size} bytes"
            raise AudioReadError(path, "implausible_length", detail)
        if file.frames + _slack(file) < mp3_samples:
            detail = f"about {mp3_samples} frames, of which {file.frames} would be read"
            raise AudioReadError(path, "unknown_length", detail)
        yield file


def _checked_on_disk(path: Path) -> tuple[int, int]:
    """Return the size and `headerless_mp3_samples` of a file that is one, and a sound container."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise AudioReadError(path, "not_a_file")
        if status.st_size == 0:
            raise AudioReadError(path, "empty")
        with path.open("rb") as raw:
            fault = find_fault(raw, status.st_size)
            mp3_samples = headerless_mp3_samples(raw)
    except (FileNotFoundError, NotADirectoryError):
        raise AudioReadError(path, "missing") from None
    except OSError as error:
        raise AudioReadError(path, "unreadable", error.strerror or str(error)) from None
    if fault:
        raise AudioReadError(path, *fault)
    return status.st_size, mp3_samples


def _blocks(file: soundfile.SoundFile, path: Path) -> Iterator[npt.NDArray[np.float32]]:
    """Decode block by block, each (n, C), and check samples and total length on the way."""
    num_frames = 0
    try:
        while num_frames < file.frames:
            wanted = min(BLOCK_FRAMES, file.frames - num_frames)
            block = file.read(wanted, dtype="float32", always_2d=True)
            if len(block) == 0:
                break
            peak = float(np.abs(block).max())  # NaN and infinity survive the maximum
            if not np.isfinite(peak):
                raise AudioReadError(path, "not_finite")
            if peak > MAX_PEAK:
                raise AudioReadError(path, "too_loud", f"peak {peak:.3g}")
            num_frames += len(block)
            yield block
    except soundfile.LibsndfileError as error:
        detail = error.error_string.strip(" .") or f"decoding stops at frame {num_frames}"
        raise AudioReadError(path, "unreadable", detail) from None
    if num_frames == 0 or num_frames < file.frames - _slack(file):
        detail = f"{num_frames} of {file.frames} frames"
        raise AudioReadError(path, "truncated", detail)


def _slack(file: soundfile.SoundFile) -> float:
    """By how many frames announced and decoded length may differ in a sound file."""
    return MP3_SLACK_FRAMES + MP3_SLACK * file.frames if file.format == "MP3" else 0.0
