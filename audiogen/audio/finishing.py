"""The last step of a generated sound: its length, its level and its rate."""

from __future__ import annotations

from torch import Tensor

from audiogen.audio.dsp import below_full_scale, resample, set_loudness
from audiogen.audio.loops import resample_ring

MAX_GAIN_DB = 20.0
"""Takes come out near the loudness of the training clips; one far below it is silence, and more
gain would only turn its noise floor up."""


def finished(
    wav: Tensor, sample_rate: int, seconds: float, *, ring: bool = False, to_rate: int | None = None
) -> Tensor:
    """Bring a sound to its length, set its level, and bring it to its rate.

    Args:
        wav: what a codec decoded (C, T), in whole latent frames.
        sample_rate: of `wav` in Hz.
        seconds: its length. What is too long is cut; a ring is resampled as a ring.
        ring: whether its end meets its beginning; the level is then that of its repetition.
        to_rate: Hz of the result; None leaves `sample_rate`.

    Returns:
        (C, round(seconds * rate)), at -23 LUFS or with the peak at -1 dBFS, whichever is lower;
        near-silence is raised by 20 dB at most.
    """
    num_samples = round(seconds * sample_rate)
    if ring:
        twice = resample_ring(wav, num_samples).repeat(1, 2)
        wav = set_loudness(twice, sample_rate, max_gain_db=MAX_GAIN_DB)[:, :num_samples]
    else:
        wav = set_loudness(wav[:, :num_samples], sample_rate, max_gain_db=MAX_GAIN_DB)
    if to_rate is None or to_rate == sample_rate:
        return wav
    if ring:
        return below_full_scale(resample_ring(wav, round(seconds * to_rate)))
    return below_full_scale(resample(wav, sample_rate, to_rate))
