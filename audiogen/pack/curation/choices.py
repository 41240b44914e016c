"""What was chosen of a pack: kept, rejected, starred, and notes, by take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field

from audiogen.locking import in_turn
from audiogen.schema import Config, parse_config
from audiogen.storage import atomic_write_text, parse_json

SELECTION_FILE = "selection.json"


class Choice(Config):
    """What was chosen for one take."""

    status: Literal["keep", "reject", ""] = ""
    star: bool = False
    note: str = Field(default="", max_length=20_000)


class Selection(Config):
    """The choices of a pack by the file's name without suffix."""

    takes: dict[str, Choice] = Field(default_factory=dict)


def read_selection(pack: Path) -> Selection:
    """Read the choices of a pack; none is a selection too, a damaged file a ValueError."""
    return find_selection(pack) or Selection()


def find_selection(pack: Path) -> Selection | None:
    """Read the choices of a pack; None where nothing was chosen yet.

    Raises:
        ValueError: the file is not a selection; says what is wrong in it.
    """
    path = pack / SELECTION_FILE
    try:
        return parse_selection(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None


def parse_selection(content: bytes, source: str) -> Selection:
    """Read choices from JSON; ValueError names `source` and what is wrong."""
    return parse_config(Selection, parse_json(content, source), source)


def add_choices(pack: Path, changed: Selection) -> None:
    """Put choices into those of a pack; of takes that are not named, they stay as they are.

    Several pages may be open at once, also of several servers: none undoes what another chose.
    """
    with in_turn(pack):
        takes = {**read_selection(pack).takes, **changed.takes}
        write_selection(pack, Selection(takes=takes))


def write_selection(pack: Path, selection: Selection) -> None:
    """Replace the choices of a pack, whole or not at all."""
    text = json.dumps(selection.model_dump(mode="json"), indent=2, ensure_ascii=False)
    atomic_write_text(pack / SELECTION_FILE, text + "\n")
