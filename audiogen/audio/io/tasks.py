"""What is done with untrusted files in child processes; free of torch, so that these start fast."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from audiogen.audio.io.decoding import MAX_CHANNELS, SAMPLE_RATES_HZ, AudioReadError
from audiogen.audio.io.member import Member, Sound
from audiogen.audio.measure.fingerprint import Words
from audiogen.audio.measure.inspection import AudioFacts, measure_audio
from audiogen.storage import sha256_file

PREVIEW_SECONDS = 20.0
PREVIEW_FRAMES = 1 << 20


def inspect_file(sound: Sound) -> Mapping[str, Any]:
    """Decode a file and return its facts and sha256 as JSON, for `facts_of`.

    Raises:
        AudioReadError: it cannot be used.
    """
    facts = measure_audio(sound)
    return {
        "sample_rate": facts.sample_rate,
        "channels": facts.channels,
        "num_frames": facts.num_frames,
        "swing": facts.swing,
        "warnings": facts.warnings,
        "fingerprint": base64.b64encode(facts.fingerprint.astype("<u4").tobytes()).decode("ascii"),
        "sha256": _sha256(sound),
    }


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


def preview_file(sound: Sound) -> Mapping[str, Any]:
    """Decode what can be decoded of a file, also of a bad one, to be looked at.

    Returns:
        sample_rate in Hz, and samples: 16 bits, of the loudest channel, at most 20 s, in base64.

    Raises:
        AudioReadError: there is nothing to see.
    """
    if isinstance(sound, Path) and not sound.is_file():
        raise AudioReadError(sound, "not_a_file")
    low, high = SAMPLE_RATES_HZ
    try:
        with soundfile.SoundFile(sound.open() if isinstance(sound, Member) else sound) as file:
            if not low <= file.samplerate <= high or not 1 <= file.channels <= MAX_CHANNELS:
                raise AudioReadError(sound, "bad_rate")
            count = min(int(PREVIEW_SECONDS * file.samplerate), PREVIEW_FRAMES, file.frames)
            samples = file.read(count, dtype="float32", always_2d=True)
            rate = int(file.samplerate)
    except soundfile.LibsndfileError as error:
        raise AudioReadError(sound, "unreadable", error.error_string) from None
    if len(samples) == 0:
        raise AudioReadError(sound, "no_samples")
    finite = np.nan_to_num(samples, nan=0, posinf=1, neginf=-1).clip(-1, 1)
    loudest = finite[:, int(np.square(finite).sum(axis=0).argmax())]
    pcm = np.round(loudest * 32767).astype("<i2").tobytes()
    return {"sample_rate": rate, "samples": base64.b64encode(pcm).decode("ascii")}


def _sha256(sound: Sound) -> str:
    """Digest of a sound's bytes, lower-case hex."""
    if isinstance(sound, Path):
        return sha256_file(sound)
    return hashlib.sha256(sound.open().read()).hexdigest()
