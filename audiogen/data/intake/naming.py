"""What names tell of a sound where nothing else does: of its folder, and of the file itself."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from audiogen.data.intake.spdx import spdx
from audiogen.data.metadata import Metadata

ESC_NAME = re.compile(r"\d-(?P<source>\d+)-[A-Z](-\d+)?")  # ESC-10 and ESC-50: FOLD-ID-TAKE(-CLASS)
TAKE_MARK = re.compile(r"([\s_.-]+(take[\s_.-]*)?([A-Za-z]|\d{1,3})|\s*\(\d{1,3}\))$", re.I)
NUMBER = re.compile(r"(\d|\(\d+\))$")
EMPTY_WORDS = frozenset(
    {"aif", "aiff", "audio", "clip", "dsc", "file", "flac", "img", "mp", "new", "ogg", "rec"}
    | {"recording", "sample", "sfx", "snd", "sound", "take", "track", "untitled", "wav", "zoom"}
)
"""Of names that programs and recorders give."""


def describe(path: PurePosixPath, told: Metadata, other: str = "") -> Metadata:
    """Complete what is said of a sound by its path relative to the data folder.

    Args:
        path: Of the sound.
        told: What is said of it elsewhere.
        other: Its label where nothing tells one, and its caption where nothing tells that.
    """
    parent = path.parent.name
    folder = "" if parent.endswith(".tar") else clean_name(parent)  # an archive says nothing
    label = told.label or folder
    stem = clean_name(TAKE_MARK.sub("", path.stem) or path.stem)
    named = stem if says_something(stem) else ""
    found = {
        "label": label or other,
        "prompt": told.prompt or label or named or other,
        "licence": spdx(told.licence),
        "source_id": told.source_id or source_of(path),
    }
    return told.model_copy(update=found)


def says_something(name: str) -> bool:
    """Whether a name has a word in it: "0001", "IMG_2034" and "5-12345-A-10" have none.

    A word has two letters, or is one of another script, and no digits in the midst of it.
    """
    words = (word.strip("0123456789") for word in re.split(r"[\W_]+", name.lower()))
    return any(
        word.isalpha() and word not in EMPTY_WORDS and (len(word) > 1 or not word.isascii())
        for word in words
    )


def clean_name(name: str) -> str:
    """Turn a folder or file name into words: "002 - Sea_Waves" becomes "sea waves"."""
    words = re.sub(r"[\s_-]+", " ", name).strip()
    return (re.sub(r"^\d+[\s.)]+(?=\S)", "", words) or words).lower()


def source_of(path: PurePosixPath) -> str:
    """Guess from its name which recording a file comes from.

    The number in ESC file names. Else a file that ends in a number is a recording of its own, as
    "storm_01" and "storm (2)" are, and other files are by their stem without a mark of one letter,
    so that "storm_a" and "storm_b" are one. That two files hold the same sound is found by
    listening to them; see `copies`.
    """
    esc = ESC_NAME.fullmatch(path.stem)
    if esc:
        return esc["source"]
    stem = TAKE_MARK.sub("", path.stem).strip()
    if NUMBER.search(path.stem) or not any(letter.isalpha() for letter in stem):
        return path.with_suffix("").as_posix()
    return stem
