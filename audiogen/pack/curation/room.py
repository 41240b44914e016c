"""The sounds of a page, as good as there is room for."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from audiogen.pack.curation.cards import VORBIS_LEVELS, Card
from audiogen.pack.curation.store import CardStore
from audiogen.pack.job import JobTake

SOUND_BYTES = 36_000_000
"""Of all sounds on a page, at most, unless the smallest are larger: it stays under 40 MB."""
TRIED_SOUNDS = 8
"""From so many it is told how large all become."""
THREADS = min(8, os.cpu_count() or 1)
_log = logging.getLogger(__name__)


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

    def note_kept(self, store: CardStore, takes: Iterable[JobTake]) -> None:
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


def page_sounds(store: CardStore, cards: Sequence[tuple[JobTake, Card]]) -> list[str]:
    """Return the sounds of cards as data URIs, those that are kept and others encoded."""
    room = SoundRoom({take.file: card.facts["samples"] for take, card in cards})
    room.note_kept(store, [take for take, _ in cards])
    tried = cards[:: max(1, len(cards) // TRIED_SOUNDS)]
    with ThreadPoolExecutor(THREADS) as pool:
        while True:
            level = room.level()

            def encode(pair: tuple[JobTake, Card], level: float = level) -> str:
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
