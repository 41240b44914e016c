"""Pitch, rhythm, attacks, width and brilliance of real clips, reconstructions and takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from torch import Tensor

from audiogen.audio.measure.character import high_band_db, rhythm, voicing, width_db
from audiogen.evaluation.material import Sounds
from audiogen.evaluation.scores import Character


def characters(sounds: Mapping[str, Sounds], sample_rate: int) -> dict[str, dict[str, Character]]:
    """Means of each label, by what the sounds are: {label: {"real": …, "takes": …}}."""
    found: dict[str, dict[str, Character]] = {}
    for kind, given in sounds.items():
        for label in sorted(set(given.labels)):
            wavs = [given.wavs[index] for index in given.of(label)]
            found.setdefault(label, {})[kind] = mean_character(wavs, sample_rate)
    return found


def mean_character(wavs: Sequence[Tensor], sample_rate: int) -> Character:
    """Mean over at least one sound (C, T) of one number of channels."""
    voicings = [voicing(wav, sample_rate) for wav in wavs]
    wavers = [waver for _, waver in voicings if waver is not None]
    rhythms = [rhythm(wav, sample_rate) for wav in wavs]
    widths = [width for wav in wavs if (width := width_db(wav)) is not None]
    highs = [high for wav in wavs if (high := high_band_db(wav, sample_rate)) is not None]
    return Character(
        periodicity=fmean(periodicity for periodicity, _ in voicings),
        waver=fmean(wavers) if wavers else None,
        regularity=fmean(regularity for regularity, _ in rhythms),
        sharpness_db=fmean(sharpness for _, sharpness in rhythms),
        width_db=fmean(widths) if widths else None,
        high_band_db=fmean(highs) if highs else None,
    )
