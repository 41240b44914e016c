"""Names of exported files, read back."""

import re
from typing import NamedTuple

from audiogen.pack.export.names import Naming


class Named(NamedTuple):
    """What a file's name tells."""

    words: tuple[str, ...]
    bpm: int | None = None
    key: str | None = None
    category: str = ""
    creator: str = ""
    source: str = ""
    number: int = 1


def parse_stem(stem: str, naming: Naming) -> Named:
    """Read a name that `Names` gave.

    In a name of the kind `splice` the letter that counts is one of the words, as nothing sets it
    apart from them.

    Raises:
        ValueError: the name is not of this kind.
    """
    if naming == "ucs":
        match = re.fullmatch(
            r"([A-Za-z]+)_([A-Za-z0-9 ]+) (\d{2,})_([A-Za-z0-9]+)_([A-Za-z0-9]+)", stem
        )
        if match:
            words = tuple(match[2].lower().split(" "))
            return Named(
                words=words,
                category=match[1],
                number=int(match[3]),
                creator=match[4],
                source=match[5],
            )
    elif naming == "plain":
        match = re.fullmatch(r"([a-z0-9]+(?:-[a-z0-9]+)*?)-(\d{3,})", stem)
        if match:
            return Named(words=tuple(match[1].split("-")), number=int(match[2]))
    else:
        match = re.fullmatch(r"([a-z]+(?:_[a-z]+)*)(?:_(\d+))?(?:_([A-G]#?(?:maj|min)))?", stem)
        if match:
            bpm = int(match[2]) if match[2] else None
            return Named(words=tuple(match[1].split("_")), bpm=bpm, key=match[3])
    raise ValueError(f"{stem!r} is not a name of the kind {naming}.")
