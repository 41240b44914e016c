"""Cards and sounds of a pack's page, made while takes are made, and kept beside it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
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
from audiogen.storage import digest_of, parse_json, remove_leftovers, temporary_name
from audiogen.takes.take import Take

STORE_FOLDER = ".cards"
"""Of a pack; it may be deleted at any time."""
FORMAT = 3
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


@dataclass(frozen=True)
class CardStore:
    """What the page of a pack shows, take by take.

    An entry is a line of JSON and some bytes. It holds for the very files that it was made from,
    told by size and time, and for the same line of the job; any other entry, and a damaged one, is
    made anew.

    Attributes:
        pack: its folder.
    """

    pack: Path

    def card(self, take: Take) -> Card:
        """The card of a take, kept or measured.

        Raises:
            AudioReadError: its file is damaged.
        """
        key = self._key(take)
        found = self._read(take.file, "card", key)
        if found is not None:
            facts, top_hz, shape = (found[0][name] for name in ("facts", "top_hz", "shape"))
            levels = np.frombuffer(found[1], dtype="<f2").reshape(shape).astype(np.float64)
            image = Spectrogram(levels_db=levels, top_hz=top_hz)
            path = take_path(self.pack, take)
            return Card(facts=facts, image=image, fingerprint=fingerprint(image), path=path)
        card = make_card(self.pack, take)
        image = card.image
        about = {"facts": card.facts, "top_hz": image.top_hz, "shape": image.levels_db.shape}
        self._write(take.file, "card", key, about, image.levels_db.astype("<f2").tobytes())
        return card

    def sound(self, take: Take, card: Card, compression_level: float) -> str:
        """The sound of a card as a data URI, kept or encoded."""
        kind, key = f"sound{round(100 * compression_level):03d}", self._key(take)
        found = self._read(take.file, kind, key)
        if found is not None:
            return found[1].decode("ascii")
        uri = card_sound(card, compression_level)
        self._write(take.file, kind, key, {}, uri.encode("ascii"))
        return uri

    def _key(self, take: Take) -> str:
        """Names what an entry is made from."""
        sound = take_path(self.pack, take)
        files = [path.stat() for path in (sound, sound.with_suffix(".json")) if path.exists()]
        stamps = [[one.st_size, one.st_mtime_ns] for one in files]
        return digest_of([FORMAT, stamps, take.key, take.parent])

    def _path(self, file: str, kind: str) -> Path:
        return self.pack / STORE_FOLDER / f"{file}.{kind}"

    def _read(self, file: str, kind: str, key: str) -> tuple[Mapping[str, Any], bytes] | None:
        """What an entry holds; None where it is not there, out of date or damaged."""
        path = self._path(file, kind)
        try:
            head, _, content = path.read_bytes().partition(b"\n")
            about = parse_json(head, str(path))
        except FileNotFoundError:
            return None
        except ValueError as error:
            _log.info("%s; it is made anew", error)
            return None
        is_good = (
            isinstance(about, dict)
            and about.get("key") == key
            and about.get("sha256") == _seal(about, content)
        )
        return (about, content) if is_good else None

    def _write(
        self, file: str, kind: str, key: str, about: Mapping[str, Any], content: bytes
    ) -> None:
        """Replace an entry. It is not flushed to the disk: a lost one is made anew."""
        path = self._path(file, kind)
        path.parent.mkdir(exist_ok=True)
        told = {**about, "key": key}
        told["sha256"] = _seal(told, content)
        temporary = path.with_name(temporary_name(f"{path.name}-{threading.get_ident()}"))
        temporary.write_bytes(json.dumps(told).encode() + b"\n" + content)
        temporary.replace(path)


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


class CardMaker:
    """Measures, draws and encodes takes in the background as soon as they are written.

    A card is what the page would make itself: where one fails, that is logged, and the page says
    what is wrong. No take waits for its card, or is lost with it.

        with CardMaker(pack, job) as cards:
            write_take(pipeline, made, path)
            cards.add(take)
    """

    def __init__(self, pack: Path, job: Sequence[Take]) -> None:
        """Start no work yet.

        Args:
            pack: its folder.
            job: all takes that the page is going to have, from which follows how much room each
                sound has there.
        """
        if (pack / STORE_FOLDER).is_dir():
            remove_leftovers(pack / STORE_FOLDER)
        self._store = CardStore(pack)
        self._seconds = page_seconds(job)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="cards")
        self._begun: list[tuple[Take, Future[None]]] = []

    def add(self, take: Take) -> None:
        """Have the card of a take made that has been written."""
        self._begun.append((take, self._pool.submit(self._make, take)))

    def __enter__(self) -> CardMaker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for the cards that are left; after an error, for those alone that are begun."""
        self._pool.shutdown(cancel_futures=kind is not None)
        for take, future in self._begun:
            failure = None if future.cancelled() else future.exception()
            if failure is not None:
                _log.info("card of %s: %r; the page makes it anew", take.file, failure)

    def _make(self, take: Take) -> None:
        card = self._store.card(take)
        self._store.sound(take, card, compression_level(card, self._seconds))


def _seal(about: Mapping[str, Any], content: bytes) -> str:
    """The sha256 of all that an entry holds besides it."""
    told = {name: value for name, value in about.items() if name != "sha256"}
    text = json.dumps(told, sort_keys=True).encode()
    return hashlib.sha256(text + b"\n" + content).hexdigest()
