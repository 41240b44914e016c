"""Cards and sounds of a pack's page, made while takes are made, and kept beside it."""

from __future__ import annotations

import hashlib
import itertools
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
TRIED_SOUNDS = 8
"""From so many it is told how large all become."""
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
        """The card of a take, kept or measured; errors as of `make_card`."""
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
        kept = self.kept_sound(take, compression_level)
        if kept is not None:
            return kept
        uri = card_sound(card, compression_level)
        kind = _sound_kind(compression_level)
        self._write(take.file, kind, self._key(take), {}, uri.encode("ascii"))
        return uri

    def kept_sound(self, take: Take, compression_level: float) -> str | None:
        """The sound of a card as a data URI; None where it has to be encoded."""
        found = self._read(take.file, _sound_kind(compression_level), self._key(take))
        return None if found is None else found[1].decode("ascii")

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


class SoundRoom:
    """How far sounds have to be compressed so that all of a page fit into `SOUND_BYTES`.

    What all would need is told by the sizes of some, and by the share of the page's time that they
    take. A job and the page after it choose by the same sizes, so that they choose the same.
    """

    def __init__(self, lengths: Mapping[str, float]) -> None:
        """Know no size yet.

        Args:
            lengths: of all sounds by file, in any unit.
        """
        self._lengths = lengths
        self._sizes: dict[float, dict[str, int]] = {level: {} for level in VORBIS_LEVELS}
        self._lock = threading.Lock()

    def note(self, file: str, level: float, size: int) -> None:
        """Tell the size in bytes of a sound at a compression level."""
        with self._lock:
            self._sizes[level][file] = size

    def note_kept(self, store: CardStore, takes: Iterable[Take]) -> None:
        """Tell the sizes of all sounds of some takes that are kept."""
        for take, level in itertools.product(takes, VORBIS_LEVELS):
            kept = store.kept_sound(take, level)
            if kept is not None:
                self.note(take.file, level, len(kept))

    def is_tried(self, level: float) -> bool:
        """Whether enough sizes of a level are known to tell what all of them need."""
        return len(self._sizes[level]) >= min(TRIED_SOUNDS, len(self._lengths))

    def level(self) -> float:
        """The best level that is not known to need too much; the last where each is."""
        with self._lock:
            for level in VORBIS_LEVELS[:-1]:
                if not self.is_tried(level) or self._needed(level) <= SOUND_BYTES:
                    return level
        return VORBIS_LEVELS[-1]

    def _needed(self, level: float) -> float:
        """Bytes of all sounds at a level."""
        sizes = self._sizes[level]
        share = sum(self._lengths[file] for file in sizes) / sum(self._lengths.values())
        return sum(sizes.values()) / share


def page_sounds(store: CardStore, cards: Sequence[tuple[Take, Card]]) -> list[str]:
    """Return the sounds of cards as data URIs, those that are kept and others encoded."""
    room = SoundRoom({take.file: card.facts["samples"] for take, card in cards})
    room.note_kept(store, [take for take, _ in cards])
    tried = cards[:: max(1, len(cards) // TRIED_SOUNDS)]
    with ThreadPoolExecutor(THREADS) as pool:
        while True:
            level = room.level()

            def encode(pair: tuple[Take, Card], level: float = level) -> str:
                uri = store.sound(*pair, level)
                room.note(pair[0].file, level, len(uri))
                return uri

            wanted = cards if room.is_tried(level) else tried
            sounds = list(pool.map(encode, wanted))
            if len(sounds) == len(cards) and room.level() == level:
                break
    total = sum(map(len, sounds))
    if total > SOUND_BYTES:
        text = "the page is large: %.0f MB of sounds, compressed as far as it goes"
        _log.warning(text, total / 1e6)
    return sounds


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
        self._room = SoundRoom({take.file: take.seconds for take in job})
        self._room.note_kept(self._store, job)
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
        level = self._room.level()
        self._room.note(take.file, level, len(self._store.sound(take, card, level)))


def _sound_kind(compression_level: float) -> str:
    """The kind of entries of sounds; each level has its own."""
    return f"sound{round(100 * compression_level):03d}"


def _seal(about: Mapping[str, Any], content: bytes) -> str:
    """The sha256 of all that an entry holds besides it."""
    told = {name: value for name, value in about.items() if name != "sha256"}
    text = json.dumps(told, sort_keys=True).encode()
    return hashlib.sha256(text + b"\n" + content).hexdigest()
