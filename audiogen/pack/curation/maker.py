"""Cards of takes, made while other takes are made: the page after a job is there at once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from audiogen.pack.curation.room import THREADS, SoundRoom
from audiogen.pack.curation.store import STORE_FOLDER, CardStore
from audiogen.pack.job import JobTake
from audiogen.storage import remove_leftovers

_log = logging.getLogger(__name__)


class CardMaker:
    """Measures, draws and encodes takes in the background as soon as they are written.

    A card is what the page would make itself: where one fails, that is logged, and the page says
    what is wrong. No take waits for its card, or is lost with it.

        with CardMaker(pack, job) as cards:
            write_take(pipeline, made, path)
            cards.add(take)
    """

    def __init__(self, pack: Path, job: Sequence[JobTake]) -> None:
        """Start no work yet.

        Args:
            pack: its folder.
            job: all takes that the page is going to have, from which follows how much room each
                sound has there.
        """
        self._store = CardStore(pack)
        self._room = SoundRoom({take.file: take.spec.seconds for take in job})
        self._room.note_kept(self._store, job)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="cards")
        self._begun: list[tuple[JobTake, Future[None]]] = []

    def add(self, take: JobTake) -> None:
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

    def _make(self, take: JobTake) -> None:
        card = self._store.card(take)
        level = self._room.level()
        self._room.note(take.file, level, len(self._store.sound(take, card, level)))


def clear_leftovers(pack: Path) -> None:
    """Delete what killed processes left half-written among the cards of a pack."""
    if (pack / STORE_FOLDER).is_dir():
        remove_leftovers(pack / STORE_FOLDER)
