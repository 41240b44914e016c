"""What stands beside a sound: a caption in a text file, a record in a JSON file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from audiogen.data.metadata import Metadata, parse_metadata
from audiogen.storage import parse_json

SIDECAR_SUFFIXES = (".txt", ".json")
MAX_SIDECAR_BYTES = 100_000
LICENCE_FILE = re.compile(r"(licen[cs]es?|copying|copyrights?)(?![a-z])", re.I)
LICENCE_BYTES = 200
"""Of which the first line is read: the name of the licence."""
OWN_MARKS = frozenset({"model_digest", "samples_sha256"})
"""A record with one of these is of a take, an edit or a layer: audiogen wrote the sound too."""


class OwnOutputError(ValueError):
    """The record beside a sound says that audiogen wrote it."""


def by_any_case(names: Iterable[str]) -> dict[str, str]:
    """Return names by themselves, and by their small letters."""
    given = list(names)
    return {name.lower(): name for name in given} | {name: name for name in given}


def sidecars(sound: str, names: Mapping[str, str]) -> list[str]:
    """Return the names of the files that speak of a sound, as `rain.txt` and `rain.wav.json` do.

    Args:
        sound: its path.
        names: paths of all files, by `by_any_case`.
    """
    bases = (sound.removesuffix(PurePosixPath(sound).suffix), sound)  # "./" stays in front
    wanted = [base + suffix for base in bases for suffix in SIDECAR_SUFFIXES]
    found = (names.get(name) or names.get(name.lower()) for name in wanted)
    return list(dict.fromkeys(name for name in found if name))


def read_sidecar(name: str, content: bytes) -> Metadata:
    """Return what a file beside a sound says of it, under the file's own name.

    Raises:
        OwnOutputError: audiogen wrote the sound.
        ValueError: it is no short UTF-8 text, or no JSON object of texts.
    """
    if len(content) > MAX_SIDECAR_BYTES:
        raise ValueError(f"{name}: more than {MAX_SIDECAR_BYTES} bytes")
    if Path(name).suffix.lower() == ".txt":
        return Metadata(file=name, prompt=" ".join(content.decode("utf-8-sig").split()))
    record = parse_json(content, name)
    if not isinstance(record, dict):
        raise ValueError(f"{name}: not a JSON object")
    if not OWN_MARKS.isdisjoint(record):
        raise OwnOutputError(f"{name}: of a sound that audiogen wrote")
    return parse_metadata({**record, "file": name}, name)


def joined(first: Metadata, second: Metadata) -> Metadata:
    """Return what the first says, and what the second says where that is silent."""
    return first.model_copy(
        update={
            name: value
            for name, value in second.model_dump(exclude_defaults=True).items()
            if name != "file" and name not in first.model_dump(exclude_defaults=True)
        }
    )
