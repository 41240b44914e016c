"""Cards and sounds of a pack's page, kept beside it, so that only new takes are measured."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiogen.pack.curation.cards import Card, card_sound, fingerprint, make_card
from audiogen.pack.job import JobTake
from audiogen.pages.pictures import Spectrogram
from audiogen.storage import digest_of, parse_json, temporary_name

STORE_FOLDER = ".cards"
"""Of a pack; it may be deleted at any time."""
FORMAT = 2
"""Goes up when cards are measured or drawn in another way."""
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

    def card(self, take: JobTake) -> Card:
        """The card of a take, kept or measured; errors as of `make_card`."""
        key = self._key(take)
        found = self._read(take.file, "card", key)
        if found is not None:
            facts, top_hz, shape = (found[0][name] for name in ("facts", "top_hz", "shape"))
            levels = np.frombuffer(found[1], dtype="<f2").reshape(shape).astype(np.float64)
            image = Spectrogram(levels_db=levels, top_hz=top_hz)
            path = take.path(self.pack)
            return Card(facts=facts, image=image, fingerprint=fingerprint(image), path=path)
        card = make_card(self.pack, take)
        image = card.image
        about = {"facts": card.facts, "top_hz": image.top_hz, "shape": image.levels_db.shape}
        self._write(take.file, "card", key, about, image.levels_db.astype("<f2").tobytes())
        return card

    def sound(self, take: JobTake, card: Card, compression_level: float) -> str:
        """The sound of a card as a data URI, kept or encoded."""
        kept = self.kept_sound(take, compression_level)
        if kept is not None:
            return kept
        uri = card_sound(card, compression_level)
        kind = _sound_kind(compression_level)
        self._write(take.file, kind, self._key(take), {}, uri.encode("ascii"))
        return uri

    def kept_sound(self, take: JobTake, compression_level: float) -> str | None:
        """The sound of a card as a data URI; None where it has to be encoded."""
        found = self._read(take.file, _sound_kind(compression_level), self._key(take))
        return None if found is None else found[1].decode("ascii")

    def _key(self, take: JobTake) -> str:
        """Names what an entry is made from."""
        sound = take.path(self.pack)
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


def _sound_kind(compression_level: float) -> str:
    """The kind of entries of sounds; each level has its own."""
    return f"sound{round(100 * compression_level):03d}"


def _seal(about: Mapping[str, Any], content: bytes) -> str:
    """The sha256 of all that an entry holds besides it."""
    told = {name: value for name, value in about.items() if name != "sha256"}
    text = json.dumps(told, sort_keys=True).encode()
    return hashlib.sha256(text + b"\n" + content).hexdigest()
