"""Audio files in and out: one reader that trusts no header, one writer that leaves no half file."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from torch import Tensor

from audiogen.audio.io.decoding import MAX_CHANNELS, SAMPLE_RATES_HZ, opened
from audiogen.audio.io.member import Sound
from audiogen.storage import atomic_write_text, replacing

WAV_BYTES = (1 << 32) - 4096  # sizes in a WAV header have 32 bits, and other chunks need some room
FULL_SCALE = np.float32(1 << 23)  # of 24 bits
CONTAINERS = {".wav": "WAV", ".flac": "FLAC"}
Encoding = Literal["PCM_16", "PCM_24", "FLOAT"]


def read_audio(sound: Sound, *, sha256: str = "") -> tuple[Tensor, int]:
    """Read a whole file; `opened` reads one of any length in blocks.

    Args:
        sound: A file or a member of an archive. It may be WAV, FLAC, Ogg, MP3 or AIFF, whatever
            its suffix says.
        sha256: Of the bytes that are expected, in hexadecimal; empty takes any.

    Returns:
        wav (C, T) float32, where lossy files may overshoot 1 slightly, and the rate in Hz.

    Raises:
        AudioReadError: if anything is wrong with the file; `reason` says what.
    """
    with opened(sound, sha256=sha256) as audio:
        wav = np.empty((audio.channels, audio.num_frames), dtype=np.float32)
        end = 0
        for block in audio.blocks():
            wav[:, end : end + len(block)] = block.T
            end += len(block)
        rate = audio.sample_rate
    return torch.from_numpy(wav[:, :end]), rate


def write_audio(
    path: Path,
    wav: Tensor,
    sample_rate: int,
    *,
    sidecar: Mapping[str, Any] | None = None,
    encoding: Encoding = "PCM_24",
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write WAV or FLAC, whole or not at all.

    Args:
        path: A path that ends in .wav or .flac; missing folders are made.
        wav: The sound (C, T) in [-1, 1], of 1 to 8 channels and at least one sample.
        sample_rate: The rate of `wav` in Hz.
        sidecar: What is kept beside the sound, as JSON in `path.with_suffix(".json")`. The digest
            of the samples is added as `samples_sha256`; see `samples_digest`.
        encoding: 24 bits; or 16 bits, to which samples are rounded; or, in WAV, floats, which may
            go beyond full scale.
        tags: Texts in the file, by soundfile's names; in FLAC they are Vorbis comments.

    Raises:
        ValueError: on another suffix, shape, rate, NaN, or samples beyond full scale.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_audio(Path(folder) / "rain.flac", torch.zeros(2, 480), 48000)
    ...     wav, rate = read_audio(Path(folder) / "rain.flac")
    >>> wav.shape, rate
    (torch.Size([2, 480]), 48000)
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
    if encoding == "PCM_16":  # libsndfile would round towards minus infinity
        samples = (samples * 32768).round().clip(-32768, 32767).astype(np.int16)
    beside = path.with_suffix(".json")
    try:
        with replacing(path) as temporary, _why_refused(temporary):
            _write_samples(temporary, samples.T, sample_rate, container, encoding, tags or {})
            # The sidecar gets its name first: a sound that exists then always has one.
            if sidecar is not None:
                _write_sidecar(beside, sidecar, temporary)
    except OSError:
        if sidecar is not None and not path.exists():
            beside.unlink(missing_ok=True)
        raise


def _write_samples(
    path: Path,
    samples: npt.NDArray[Any],
    sample_rate: int,
    container: str,
    encoding: Encoding,
    tags: Mapping[str, str],
) -> None:
    """Write samples (T, C) behind the texts of a file."""
    kind = {"format": container, "subtype": encoding}
    with soundfile.SoundFile(path, "w", sample_rate, samples.shape[1], **kind) as file:
        for name, text in tags.items():
            setattr(file, name, text)
        file.write(samples)


@contextlib.contextmanager
def _why_refused(temporary: Path) -> Iterator[None]:
    """Raise the OSError of a disk that refuses; libsndfile does not say why it failed."""
    try:
        yield
    except soundfile.LibsndfileError:
        with temporary.open("ab") as file:
            file.write(bytes(1 << 16))
        raise


def _write_sidecar(path: Path, sidecar: Mapping[str, Any], sound: Path) -> None:
    """Write what is known of a sound, and the number of its samples as they are on the disk."""
    written, sample_rate = soundfile.read(sound, dtype="float32", always_2d=True)
    told = {**sidecar, "samples_sha256": samples_digest([written], sample_rate)}
    text = json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False)
    atomic_write_text(path, text + "\n")


def samples_digest(blocks: Iterable[npt.NDArray[np.float32]], sample_rate: int) -> str:
    """Name the samples that were read from a file.

    Args:
        blocks: The samples, (n, C) each, as libsndfile reads them from 24 bits: in steps of 2^-23.
        sample_rate: The rate of the file in Hz.

    Returns:
        sha256 in hexadecimal: the same for WAV, FLAC and whatever else keeps 24 bits.
    """
    found = hashlib.sha256(f"{sample_rate} Hz".encode())
    for number, block in enumerate(blocks):
        if number == 0:
            found.update(f", {block.shape[1]} channels".encode())
        found.update(np.rint(block * FULL_SCALE).astype("<i4").tobytes())
    return found.hexdigest()


def write_blocks(
    path: Path, blocks: Iterable[Tensor], sample_rate: int, *, audio_channels: int, num_samples: int
) -> float:
    """Write 24-bit WAV of any length from blocks, whole or not at all.

    Beyond 4 GiB it is RF64 (EBU Tech 3306), which differs from WAV in the size fields alone.

    Args:
        path: Where the file goes; missing folders are made.
        blocks: The sound, (audio_channels, n) each; what is beyond [-1, 1] is clipped.
        sample_rate: The rate of the blocks in Hz.
        audio_channels: The number of channels, 1 to 8.
        num_samples: The length of all blocks together.

    Returns:
        The peak; above 1 something was clipped.

    Raises:
        ValueError: samples are NaN or infinite, or not `num_samples`; nothing was written.
    """
    peak, written = 0.0, 0
    is_long = num_samples * audio_channels * 3 > WAV_BYTES
    with (
        replacing(path) as temporary,
        _why_refused(temporary),
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
