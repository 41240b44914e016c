"""Names of exported files: made from prompts that nobody vets, unique, and parsed back."""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from audiogen.trees import read_yaml

Naming = Literal["splice", "ucs", "plain"]
NAMINGS: tuple[Naming, ...] = ("splice", "ucs", "plain")
MAX_WORDS = 8
MAX_CHARACTERS = 48
KEY = re.compile(r"[A-G]#?(?:maj|min)")
# Of Windows, with any suffix and in any case.
RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com\d|lpt\d)", re.IGNORECASE)
UNSORTED = "DSGNMisc"


@dataclass(frozen=True, kw_only=True)
class Named:
    """What a file's name tells.

    Attributes:
        words: from the prompt, in lower case, of a-z and 0-9.
        bpm: of a loop, rounded; never in names of the kinds ucs and plain.
        key: such as Amin; likewise.
        category: CatID of the Universal Category System; empty in other kinds of names.
        creator, source: likewise.
        number: of files that tell the same; from 1.
    """

    words: tuple[str, ...]
    bpm: int | None = None
    key: str | None = None
    category: str = ""
    creator: str = ""
    source: str = ""
    number: int = 1


def prompt_words(prompt: str, *, digits: bool = True) -> tuple[str, ...]:
    """Return at most eight words of [a-z0-9] that tell a prompt; `sound` where none are left.

    Accents go; other scripts have no letters here. Without `digits`, only letters stay.
    """
    plain = unicodedata.normalize("NFKD", prompt[:1000]).encode("ascii", "ignore").decode().lower()
    found = re.findall(r"[a-z0-9]+" if digits else r"[a-z]+", plain)
    words: list[str] = []
    for word in found[:MAX_WORDS]:
        if len(" ".join([*words, word])) > MAX_CHARACTERS:
            break
        words.append(word)
    if not words and found:
        words = [found[0][:MAX_CHARACTERS]]
    return tuple(words) or ("sound",)


def ucs_category(words: tuple[str, ...]) -> str:
    """Return the CatID of a prompt's words, `DSGNMisc` where none is evident.

    >>> ucs_category(("rain", "on", "a", "tin", "roof"))
    'RAINMetl'
    """
    return next(
        (code for wanted, code in _categories().items() if set(wanted.split()) <= set(words)),
        UNSORTED,
    )


@functools.cache
def _categories() -> dict[str, str]:
    return read_yaml(Path(__file__).with_name("categories.yaml"))


def file_stem(named: Named, naming: Naming) -> str:
    """Write a name, without the suffix of the format.

    `splice`: letters, digits for the tempo only, `rain_on_tin_90_Amin`, and `_b`, `_c` and so on
    before these for the second and third of a name. `ucs`: `CatID_FXName_CreatorID_SourceID`,
    with `_` as separator alone. `plain`: words joined by `-`.
    """
    if naming == "ucs":
        title = " ".join(word.capitalize() for word in named.words)
        return "_".join(
            (named.category, f"{title} {named.number:02d}", named.creator, named.source)
        )
    if naming == "plain":
        stem = "-".join([*named.words, f"{named.number:03d}"])
    else:
        tempo = [] if named.bpm is None else [str(named.bpm)]
        key = [] if named.key is None else [named.key]
        letters = [] if named.number == 1 else [_letters(named.number)]
        stem = "_".join([*named.words, *letters, *tempo, *key])
    return f"{stem}{'-' if naming == 'plain' else '_'}sound" if RESERVED.fullmatch(stem) else stem


class Names:
    """Gives out names, each once, also where upper and lower case are the same."""

    def __init__(self, naming: Naming, *, creator: str = "AG", source: str = "Pack") -> None:
        if naming not in NAMINGS:
            raise ValueError(f"naming: expected one of {', '.join(NAMINGS)}, got {naming!r}.")
        self._naming = naming
        self._creator = re.sub(r"[^A-Za-z0-9]", "", creator)[:16] or "AG"
        self._source = re.sub(r"[^A-Za-z0-9]", "", source)[:32] or "Pack"
        self._taken: set[str] = set()
        self._next: dict[tuple[str, ...], int] = {}

    def give(self, prompt: str, *, bpm: float | None = None, key: str | None = None) -> str:
        """Return a new name (without suffix) for a sound of `prompt`."""
        words = prompt_words(prompt, digits=self._naming != "splice")
        is_ucs, is_splice = self._naming == "ucs", self._naming == "splice"
        number = self._next.get(words, 1)
        while True:
            named = Named(
                words=words,
                bpm=max(1, round(bpm)) if bpm and is_splice else None,
                key=key if key and is_splice and KEY.fullmatch(key) else None,
                category=ucs_category(words) if is_ucs else "",
                creator=self._creator if is_ucs else "",
                source=self._source if is_ucs else "",
                number=number,
            )
            stem = file_stem(named, self._naming)
            number += 1
            if stem.lower() not in self._taken:
                self._taken.add(stem.lower())
                self._next[words] = number
                return stem


def _letters(number: int) -> str:
    """Count in letters: 1 is a, 26 z, 27 aa."""
    text = ""
    while number:
        number, digit = divmod(number - 1, 26)
        text = chr(ord("a") + digit) + text
    return text
