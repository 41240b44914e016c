"""Decoding that trusts no header, in blocks of numpy; free of torch, so that it starts fast."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soundfile

from audiogen.audio.io.containers import Container, examine
from audiogen.audio.io.member import Member, Sound
from audiogen.audio.io.streams import ContainerError

AUDIO_SUFFIXES: frozenset[str] = frozenset(
    {".wav", ".wave", ".bwf", ".flac", ".ogg", ".mp3", ".mp2", ".mpga", ".aif", ".aiff", ".aifc"}
)
FORMATS: Mapping[str, str] = {  # as libsndfile calls them
    "WAV": "WAV",
    "WAVEX": "WAV",
    "RF64": "WAV",
    "AIFF": "AIFF",
    "OGG": "OGG",
    "FLAC": "FLAC",
    "MP3": "MPEG",
}
SAMPLE_RATES_HZ = (4_000, 768_000)
MAX_CHANNELS = 8
MAX_PEAK = 16.0  # decoders and float mixes overshoot 1 a little; beyond this the data are garbage
MAX_FRAMES_PER_BYTE = 1024  # digital silence in FLAC reaches a few hundred
MP3_SLACK_FRAMES = 2 * 1152  # decoder delay, and padding at the end
MP3_SLACK = 0.01  # without a length header the length is estimated from the first frame
BLOCK_FRAMES = 1 << 18

REASONS: Mapping[str, str] = {
    "missing": "there is no such file, or it is a link to nothing",
    "not_a_file": "a folder, pipe or device, not a file",
    "empty": "the file has 0 bytes",
    "unreadable": "the file cannot be opened or decoded",
    "not_audio": "not WAV, FLAC, Ogg, MP3 or AIFF data, whatever the name says",
    "no_samples": "the file has a header but no samples",
    "bad_rate": "the sample rate is outside 4 kHz to 768 kHz",
    "bad_channels": f"the file has more than {MAX_CHANNELS} channels",
    "unknown_length": "the file does not say how long it is; convert it to PCM WAV",
    "several_streams": "an Ogg file of several streams; convert it to WAV",
    "implausible_length": "the header claims far more audio than the bytes can hold",
    "contradictory": "the header contradicts itself or the file; save the sound anew",
    "truncated": "the file ends before the audio that its header announces",
    "damaged": "a checksum does not match: bytes have changed since the file was written",
    "changed": "not the file that intake looked at; put that back, or begin a new run",
    "bad_archive": "not an uncompressed tar archive, or a damaged one; pack it anew",
    "not_finite": "samples are NaN or infinite",
    "too_loud": f"samples are beyond {MAX_PEAK:g} times full scale",
    "decoder_crashed": "the decoder crashed on it",
    "too_slow": "decoding took too long",
    "too_much_memory": "decoding asked for too much memory",
}


class AudioReadError(ValueError):
    """A file that cannot be used as audio.

    Attributes:
        reason: code, one of the keys of `REASONS`.
    """

    def __init__(self, sound: Sound | str, reason: str, detail: str = "") -> None:
        self.reason = reason
        extra = f" ({detail})" if detail else ""
        super().__init__(f"{sound}: {REASONS[reason]}{extra}.")


@dataclass(frozen=True, kw_only=True)
class OpenedAudio:
    """An open file whose header looks sound: rate in Hz, channels, and announced frames."""

    sound: Sound
    container: Container
    file: soundfile.SoundFile

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return int(self.file.samplerate)

    @property
    def channels(self) -> int:
        """Audio channels, 1 to `MAX_CHANNELS`."""
        return int(self.file.channels)

    @property
    def num_frames(self) -> int:
        """Announced length; an MP3 may turn out a little shorter."""
        # Where an MP3 announces none, libsndfile guesses; in a WAV up to ten times too much.
        counted = self.container.frames if self.container.counted else None
        return int(self.file.frames if counted is None else min(self.file.frames, counted))

    @property
    def slack(self) -> float:
        """By how many frames announced and real length may differ in a sound file."""
        if not self.container.is_mp3:
            return 0.0
        return MP3_SLACK_FRAMES + MP3_SLACK * self.num_frames

    def blocks(self) -> Iterator[npt.NDArray[np.float32]]:
        """Decode block by block, each (n, C), and check samples and length on the way.

        Raises:
            AudioReadError: as soon as something is wrong; the length is known at the end.
        """
        done = 0
        md5 = hashlib.md5(usedforsecurity=False)
        try:
            while done < self.num_frames:
                block = self._read(min(BLOCK_FRAMES, self.num_frames - done), md5)
                if len(block) == 0:
                    break
                peak = float(np.abs(block).max())  # NaN and infinity survive the maximum
                if not np.isfinite(peak):
                    raise AudioReadError(self.sound, "not_finite")
                if peak > MAX_PEAK:
                    raise AudioReadError(self.sound, "too_loud", f"peak {peak:.3g}")
                done += len(block)
                yield block
        except soundfile.LibsndfileError as error:
            detail = error.error_string.strip(" .") or f"decoding stops at frame {done}"
            raise AudioReadError(self.sound, "unreadable", detail) from None
        if done == 0 or done < self.num_frames - self.slack:
            detail = f"{done} of {self.num_frames} frames"
            raise AudioReadError(self.sound, "truncated", detail)
        if self.container.md5 and md5.digest() != self.container.md5:
            raise AudioReadError(self.sound, "damaged", "MD5 of the samples")

    def _read(self, count: int, md5: hashlib._Hash) -> npt.NDArray[np.float32]:
        """Decode up to `count` frames (n, C); whole numbers where a checksum is over these."""
        if not self.container.md5:
            block: npt.NDArray[np.float32]
            block = self.file.read(count, dtype="float32", always_2d=True)
            return block
        whole = self.file.read(count, dtype="int32", always_2d=True)
        md5.update(_packed(whole >> (32 - self.container.bits), (self.container.bits + 7) // 8))
        exact: npt.NDArray[np.float32] = whole.astype(np.float32) * np.float32(2.0**-31)
        return exact


@contextmanager
def opened(sound: Sound, *, sha256: str = "") -> Iterator[OpenedAudio]:
    """Open a file and check what can be checked before decoding.

    Args:
        sound: A file or a member of an archive. It may be WAV, FLAC, Ogg, MP3 or AIFF, whatever
            its suffix says.
        sha256: Of the bytes that are expected, in hexadecimal; empty takes any.

    Raises:
        AudioReadError: if anything is wrong with the file; `reason` says what.
    """
    with contextlib.ExitStack() as stack:
        yield _open(sound, stack, sha256)


def read_part(sound: Sound, start: int, count: int) -> npt.NDArray[np.float32]:
    """Decode up to `count` frames (n, C) from frame `start` of a file that `opened` found sound.

    Raises:
        AudioReadError: it is gone, or has changed.
    """
    try:
        with contextlib.ExitStack() as stack:
            raw = stack.enter_context(sound.open("rb")) if isinstance(sound, Member) else sound
            file = stack.enter_context(soundfile.SoundFile(raw))
            file.seek(start)
            block: npt.NDArray[np.float32] = file.read(count, dtype="float32", always_2d=True)
            return block
    except soundfile.LibsndfileError:
        gone = not isinstance(sound, Member) and not sound.exists()
        raise AudioReadError(sound, "missing" if gone else "changed") from None
    except OSError as error:
        raise AudioReadError(sound, "unreadable", error.strerror or str(error)) from None


def _open(sound: Sound, stack: contextlib.ExitStack, sha256: str) -> OpenedAudio:
    """Open a file for as long as `stack` is; see `opened`."""
    try:
        if not isinstance(sound, Member) and not stat.S_ISREG(sound.stat().st_mode):
            raise AudioReadError(sound, "not_a_file")
        raw: io.BufferedReader | io.BytesIO = sound.open("rb")
        stack.enter_context(raw)
        size = raw.seek(0, os.SEEK_END)
        if isinstance(sound, Member) and size < sound.num_bytes:
            detail = f"{size} of {sound.num_bytes} bytes are in the archive"
            raise AudioReadError(sound, "truncated", detail)
        if size == 0:
            raise AudioReadError(sound, "empty")
        raw.seek(0)
        if sha256 and hashlib.file_digest(raw, "sha256").hexdigest() != sha256:
            raise AudioReadError(sound, "changed")
        container = examine(raw, size)
        raw.seek(0)
        # A file by its name, which libsndfile reads faster than through Python.
        file = soundfile.SoundFile(raw if isinstance(sound, Member) else sound)
    except ContainerError as error:
        raise AudioReadError(sound, error.reason, error.detail) from None
    except soundfile.LibsndfileError as error:
        # For MPEG data without a frame libsndfile says that the file does not exist; it does.
        said = error.error_string.strip(" .")
        detail = "no frame of audio in it" if "does not exist" in said else said
        raise AudioReadError(sound, "unreadable", detail) from None
    except (FileNotFoundError, NotADirectoryError):
        from audiogen.trees import did_you_mean  # noqa: PLC0415 (children start without it)

        near = "" if isinstance(sound, Member) else did_you_mean(sound).strip("; ")
        raise AudioReadError(sound, "missing", near) from None
    except OSError as error:
        raise AudioReadError(sound, "unreadable", error.strerror or str(error)) from None
    audio = OpenedAudio(sound=sound, container=container, file=stack.enter_context(file))
    _check_header(audio, size)
    return audio


def _check_header(audio: OpenedAudio, size: int) -> None:
    """Compare what libsndfile understood with the limits and with what the container says."""
    sound, container = audio.sound, audio.container
    low, high = SAMPLE_RATES_HZ
    if FORMATS.get(audio.file.format) != container.kind:
        raise AudioReadError(sound, "not_audio", f"{audio.file.format} inside {container.kind}")
    if not container.found:
        raise AudioReadError(sound, "contradictory", "its chunks lead to no samples")
    if not low <= audio.sample_rate <= high:
        raise AudioReadError(sound, "bad_rate", f"{audio.sample_rate} Hz")
    if audio.channels > MAX_CHANNELS:
        raise AudioReadError(sound, "bad_channels", f"{audio.channels}")
    if audio.num_frames <= 0:
        raise AudioReadError(sound, "no_samples")
    if audio.num_frames > size * MAX_FRAMES_PER_BYTE:
        detail = f"{audio.num_frames} frames in {size} bytes"
        raise AudioReadError(sound, "implausible_length", detail)
    if container.frames is None:
        return
    lacking = container.frames - audio.num_frames
    if lacking > audio.slack or (lacking and not audio.slack):
        # An MP3 of varying bit rate without a length header; otherwise the header lies.
        reason = "unknown_length" if container.counted else "contradictory"
        detail = f"{container.frames} frames, of which {audio.num_frames} would be read"
        raise AudioReadError(sound, reason, detail)


def _packed(samples: npt.NDArray[np.int32], width: int) -> bytes:
    """Return samples as FLAC's checksum wants them: interleaved, little-endian, `width` bytes."""
    rows = samples.astype("<i4").reshape(-1, 1).view(np.uint8)
    return rows[:, :width].tobytes()
