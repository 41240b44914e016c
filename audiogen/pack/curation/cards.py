"""Cards of a curation page: what is seen, heard and measured of each take."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from audiogen.audio.io.files import read_audio
from audiogen.audio.loops import measure_seam
from audiogen.audio.measure.measures import SoundMeasures, measure_sound
from audiogen.pack.job import take_path
from audiogen.pages.pictures import VORBIS_LEVEL, Spectrogram, sound_uri, spectrogram
from audiogen.takes.take import Take, read_take

FloatArray = npt.NDArray[np.float32]
PEAKS = 240
"""Columns of a drawn waveform."""
LEAD_SECONDS = 0.1
"""Of a loop, put before and behind it on the page, so that the codec hears no ends in it."""
VORBIS_LEVELS = (VORBIS_LEVEL, 0.7, 0.85, 1.0)
"""From the best to the smallest."""
PRINT_SHAPE = (32, 48)
PRINT_RANGE_DB = 60.0
NEAR_DB = 2.5
"""Below this distance two takes are marked as nearly the same."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One take of a page.

    Attributes:
        facts: what the page shows, as JSON types.
        image: its spectrogram.
        fingerprint: (bands, columns), dB; see `fingerprint`.
        path: of the take.
    """

    facts: Mapping[str, Any]
    image: Spectrogram
    fingerprint: FloatArray
    path: Path


def make_card(pack: Path, take: Take) -> Card:
    """Read and measure a take.

    Raises:
        AudioReadError: its file is damaged.
    """
    path = take_path(pack, take)
    wav, rate = read_audio(path)
    made = read_take(path) or take
    seam = None if made.seam is None else made.seam.score
    if take.loop and seam is None:
        seam = measure_seam(wav, rate).score
    measures = measure_sound(wav, rate)
    image = _rounded_image(spectrogram(wav, rate))
    facts = {
        "file": take.file,
        "prompt": take.prompt,
        "seed": str(made.seed),  # a number of JavaScript is exact up to 2^53 alone
        "seconds": round(wav.shape[1] / rate, 4),
        "samples": wav.shape[1],
        "rate": rate,
        "channels": wav.shape[0],
        "loop": take.loop,
        "tempo": [take.tempo.bpm, take.tempo.bars] if take.tempo else None,
        "lufs": _rounded(measures.loudness_lufs, 1),
        "sound": _sound(measures),
        "seam": _rounded(seam, 2),
        "best_of": take.best_of,
        "score": made.choosing and made.choosing.kept.model_dump(exclude={"seed"}),
        "negative": take.negative_prompt,
        "controls": dict(take.controls),
        "parent": take.parent,
        "amount": take.variation.amount if take.variation else None,
        "lead": round(LEAD_SECONDS * rate) if take.loop else 0,
        "peaks": _peaks(wav),
    }
    return Card(facts=facts, image=image, fingerprint=fingerprint(image), path=path)


def card_sound(card: Card, compression_level: float) -> str:
    """Return the sound of a card as a data URI; a loop's has some of itself before and behind."""
    wav, rate = read_audio(card.path)
    lead = card.facts["lead"]
    if lead:
        turns = -(-lead // wav.shape[1])
        around = wav.repeat(1, 2 * turns + 1)
        start = turns * wav.shape[1]
        wav = around[:, start - lead : start + wav.shape[1] + lead]
    return sound_uri(wav.clamp(-1, 1), rate, compression_level=compression_level)


def fingerprint(image: Spectrogram) -> FloatArray:
    """A small log-mel picture (32 bands, 48 columns), dB around 0, the same at any level."""
    levels = torch.from_numpy(image.levels_db)[None, None]
    small = torch.nn.functional.adaptive_avg_pool2d(levels, PRINT_SHAPE)[0, 0].numpy()
    floored = np.maximum(small, small.max() - PRINT_RANGE_DB)
    centred: FloatArray = (floored - floored.mean()).astype(np.float32)
    return centred


def near_duplicates(prints: Sequence[FloatArray]) -> list[list[tuple[int, float]]]:
    """For each fingerprint the others that are nearly the same, as (index, dB), nearest first.

    The distance is the root mean square difference, which is that of how two takes move in time
    as much as that of their sound.
    """
    if not prints:
        return []
    flat = np.stack([one.ravel() for one in prints]).astype(np.float64)
    squares = (flat**2).sum(axis=1)
    between = squares[:, None] + squares[None] - 2 * flat @ flat.T
    distances = np.sqrt(np.maximum(between, 0) / flat.shape[1])
    np.fill_diagonal(distances, np.inf)
    return [
        [(int(other), float(row[other])) for other in np.argsort(row) if row[other] < NEAR_DB]
        for row in distances
    ]


def _sound(measures: SoundMeasures) -> dict[str, float | str | None]:
    """Numbers about the sound that the page shows and sorts by."""
    return {
        "brightness": _rounded(measures.brightness_hz, 0),
        "events": _rounded(measures.event_density_hz, 1),
        "roughness": _rounded(measures.roughness, 2),
        "steadiness": _rounded(measures.stationarity, 2),
        "tonality": _rounded(measures.tonality, 2),
        "key": measures.key,
        "tempo": _rounded(measures.tempo_bpm, 0),
    }


def _rounded_image(image: Spectrogram) -> Spectrogram:
    """The levels with the 11 bits that are kept of them, so that a kept card is the same card."""
    levels = image.levels_db.astype(np.float16).astype(np.float64)
    return Spectrogram(levels_db=levels, top_hz=image.top_hz)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _peaks(wav: Tensor) -> str:
    """Lowest and highest sample of each column, as base64 of signed bytes."""
    count = min(PEAKS, wav.shape[1])
    edges = np.linspace(0, wav.shape[1], count + 1).astype(int)[:-1]
    samples = wav.numpy()
    low = np.minimum.reduceat(samples, edges, axis=1).min(axis=0)
    high = np.maximum.reduceat(samples, edges, axis=1).max(axis=0)
    both = np.stack([low, high], axis=1).clip(-1, 1)
    return base64.b64encode(np.round(127 * both).astype(np.int8).tobytes()).decode("ascii")
