"""What names tell of a sound where nothing else does: of its folder, and of the file itself."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from audiogen.data.intake.spdx import spdx
from audiogen.data.metadata import Metadata

ESC_NAME = re.compile(r"\d-(?P<source>\d+)-[A-Z](-\d+)?")  # ESC-10 and ESC-50: FOLD-ID-TAKE(-CLASS)
TAKE_MARK = re.compile(r"([\s_.-]+(take[\s_.-]*)?([A-Za-z]|\d{1,3})|\s*\(\d{1,3}\))$", re.I)


def describe(path: PurePosixPath, told: Metadata) -> Metadata:
    """Complete what is said of a sound by its path relative to the data folder."""
    parent = path.parent.name
    folder = "" if parent.endswith(".tar") else clean_name(parent)  # an archive says nothing
    label = told.label or folder
    stem = clean_name(TAKE_MARK.sub("", path.stem) or path.stem)
    named = stem if any(letter.isalpha() for letter in stem) else ""  # "0001" describes nothing
    found = {
        "label": label,
        "prompt": told.prompt or label or named,
        "licence": spdx(told.licence),
        "source_id": told.source_id or source_of(path),
    }
    return told.model_copy(update=found)


def clean_name(name: str) -> str:
    """Turn a folder or file name into words: "002 - Sea_Waves" becomes "sea waves"."""
    words = re.sub(r"[\s_-]+", " ", name).strip()
    return (re.sub(r"^\d+[\s.)]+(?=\S)", "", words) or words).lower()


def source_of(path: PurePosixPath) -> str:
    """Guess from its name which recording a file comes from.

    The number in ESC file names; else the stem without a take mark, so that "storm_a", "storm_b"
    and "storm 3" are one source. This errs on the side of one source too few. A stem that is only
    a number or a mark says nothing outside its folder and keeps the folder's name.
    """
    esc = ESC_NAME.fullmatch(path.stem)
    if esc:
        return esc["source"]
    stem = TAKE_MARK.sub("", path.stem).strip()
    if any(letter.isalpha() for letter in stem) and stem.lower() != "take":
        return stem
    return path.with_suffix("").as_posix()
