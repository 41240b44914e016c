"""Cards and sounds of a pack's page, made while takes are made, and kept beside it."""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from audiogen.pack.curation.cards import (
    VORBIS_LEVELS,
    Card,
    card_sound,
    fingerprint,
    make_card,
)
from audiogen.pack.job import take_path
from audiogen.pages.pictures import Spectrogram
from audiogen.storage import digest_of, read_json, remove_leftovers, replacing
from audiogen.takes.take import Take

STORE_FOLDER = ".cards"
"""Of a pack; it may be deleted at any time."""
FORMAT = 5
"""Goes up when cards are measured or drawn in another way."""
SOUND_BYTES = 36_000_000
"""Of all sounds on a page, at most, unless the smallest are larger: it stays under 40 MB."""
NOISE_BYTES = {"mono": (15_600, 12_500, 11_800, 9_500), "stereo": (29_500, 19_600, 15_400, 12_200)}
"""Of a second of white noise at 44.1 or 48 kHz, at each level; no other sound needs more."""
LOW_RATE, LOW_SHARE = 24_000, 0.75
"""Up to this rate, in Hz, such a share of it."""
HEAD_SECONDS = 0.5
"""What the head of a file needs, as so much noise."""
THREADS = min(8, os.cpu_count() or 1)
_log = logging.getLogger(__name__)


def kept_card(pack: Path, take: Take, seconds: float) -> tuple[Card, str]:
    """Return the card of a take and its sound as a data URI, as they were kept or made now.

    An entry holds for the very files that it was made from, told by size and time, for the same
    line of the job, and for a sound that is compressed as much as a page of `seconds` asks for; any
    other entry, and a damaged one, is made anew.

    Raises:
        AudioReadError: its file is damaged.
    """
    path, key = pack / STORE_FOLDER / f"{take.file}.json", _key(pack, take)
    told = _read(path, key)
    if told is not None:
        levels = np.frombuffer(base64.b64decode(told["levels"]), "<f2").reshape(told["shape"])
        image = Spectrogram(levels_db=levels.astype(np.float64), top_hz=told["top_hz"])
        file = take_path(pack, take)
        card = Card(facts=told["facts"], image=image, fingerprint=fingerprint(image), path=file)
        if told["compression"] == compression_level(card, seconds):
            return card, str(told["sound"])
    card = make_card(pack, take)
    compression = compression_level(card, seconds)
    sound = card_sound(card, compression)
    told = {
        "facts": card.facts,
        "top_hz": card.image.top_hz,
        "shape": card.image.levels_db.shape,
        "levels": base64.b64encode(card.image.levels_db.astype("<f2").tobytes()).decode("ascii"),
        "compression": compression,
        "sound": sound,
    }
    with replacing(path, flush=False) as temporary:  # a lost one is made anew
        temporary.write_text(json.dumps([digest_of([key, told]), told]), encoding="utf-8")
    return card, sound


def _key(pack: Path, take: Take) -> str:
    """Names what an entry is made from."""
    sound = take_path(pack, take)
    files = [path.stat() for path in (sound, sound.with_suffix(".json")) if path.exists()]
    stamps = [[one.st_size, one.st_mtime_ns] for one in files]
    return digest_of([FORMAT, stamps, take.key, take.parent])


def _read(path: Path, key: str) -> dict[str, Any] | None:
    """What an entry holds; None where it is not there, out of date or damaged."""
    try:
        digest, told = read_json(path)
        return told if digest == digest_of([key, told]) else None
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        _log.info("%s; it is made anew", error)
        return None


def page_seconds(job: Iterable[Take]) -> float:
    """How much sound the page of a job holds, heads of files included."""
    return sum(take.seconds + HEAD_SECONDS for take in job)


def compression_level(card: Card, seconds: float) -> float:
    """The best level at which a page of `seconds` fits into `SOUND_BYTES`, all sounds like `card`.

    It is told by lengths alone, so that a job and the page after it choose the same.
    """
    share = LOW_SHARE if card.facts["rate"] <= LOW_RATE else 1.0
    rates = NOISE_BYTES["mono" if card.facts["channels"] == 1 else "stereo"]
    fitting = (
        level
        for level, rate in zip(VORBIS_LEVELS, rates, strict=True)
        if share * rate * seconds <= SOUND_BYTES
    )
    return next(fitting, VORBIS_LEVELS[-1])


@contextmanager
def making_cards(pack: Path, job: Iterable[Take]) -> Iterator[Callable[[Take], object]]:
    """Give a function that makes the card of a take that is written, in the background.

    A card is what the page of the job would make itself: where one fails, that is logged, and the
    page says what is wrong. No take waits for its card, or is lost with it. After an error only
    those cards are finished that are begun.

        with making_cards(pack, job) as make_card:
            write_take(path, wav, take)
            make_card(take)
    """
    if (pack / STORE_FOLDER).is_dir():
        remove_leftovers(pack / STORE_FOLDER)
    seconds = page_seconds(job)

    def make(take: Take) -> None:
        try:
            kept_card(pack, take, seconds)
        except Exception as error:  # whatever it is, it costs no take
            _log.info("card of %s: %r; the page makes it anew", take.file, error)

    with ThreadPoolExecutor(THREADS, thread_name_prefix="cards") as pool:
        try:
            yield lambda take: pool.submit(make, take)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
