"""Names of exported files: made from prompts that nobody vets, unique, and parsed back."""

from __future__ import annotations

import functools
import re
import unicodedata
from pathlib import Path
from typing import Literal

from audiogen.trees import read_yaml

Naming = Literal["splice", "ucs", "plain"]
MAX_WORDS = 8
MAX_CHARACTERS = 48
KEY = re.compile(r"[A-G]#?(?:maj|min)")
# Of Windows, with any suffix and in any case.
RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com\d|lpt\d)", re.IGNORECASE)
UNSORTED = "DSGNMisc"


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


class Names:
    """Gives out names, each once, also where upper and lower case are the same.

    `splice`: letters, digits for the tempo only, `rain_on_tin_90_Amin`, and `_b`, `_c` and so on
    before these for the second and third of a name. `ucs`: `CatID_FXName_CreatorID_SourceID`,
    with `_` as separator alone. `plain`: words joined by `-`.
    """

    def __init__(self, naming: Naming, *, creator: str = "AG", source: str = "Pack") -> None:
        self._naming = naming
        self._creator = re.sub(r"[^A-Za-z0-9]", "", creator)[:16] or "AG"
        self._source = re.sub(r"[^A-Za-z0-9]", "", source)[:32] or "Pack"
        self._taken: set[str] = set()
        self._next: dict[tuple[str, ...], int] = {}

    def give(self, prompt: str, *, bpm: float | None = None, key: str | None = None) -> str:
        """Return a new name (without suffix) for a sound of `prompt`."""
        words = prompt_words(prompt, digits=self._naming != "splice")
        number = self._next.get(words, 1)
        while (stem := self._stem(words, number, bpm, key)).lower() in self._taken:
            number += 1
        self._taken.add(stem.lower())
        self._next[words] = number + 1
        return stem

    def _stem(self, words: tuple[str, ...], number: int, bpm: float | None, key: str | None) -> str:
        """The name of the sound of this number, from 1, among those of the same words."""
        if self._naming == "ucs":
            title = " ".join(word.capitalize() for word in words)
            parts = (ucs_category(words), f"{title} {number:02d}", self._creator, self._source)
            return "_".join(parts)
        if self._naming == "plain":
            joint, stem = "-", "-".join([*words, f"{number:03d}"])
        else:
            letters = [] if number == 1 else [_letters(number)]
            tempo = [str(max(1, round(bpm)))] if bpm else []
            tone = [key] if key and KEY.fullmatch(key) else []
            joint, stem = "_", "_".join([*words, *letters, *tempo, *tone])
        return f"{stem}{joint}sound" if RESERVED.fullmatch(stem) else stem


def _letters(number: int) -> str:
    """Count in letters: 1 is a, 26 z, 27 aa."""
    text = ""
    while number:
        number, digit = divmod(number - 1, 26)
        text = chr(ord("a") + digit) + text
    return text
