"""What can be seen of a file that may be bad; free of torch, for child processes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from audiogen.audio.io.decoding import MAX_CHANNELS, SAMPLE_RATES_HZ, AudioReadError
from audiogen.audio.io.member import Sound

PREVIEW_SECONDS = 20.0
PREVIEW_FRAMES = 1 << 20


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
        with soundfile.SoundFile(sound if isinstance(sound, Path) else sound.open()) as file:
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
