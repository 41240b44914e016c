"""Published sets of sounds: where they lie, their checksums, and what their tables say.

ESC-50 and its part ESC-10: K. J. Piczak, "ESC: Dataset for Environmental Sound Classification",
ACM Multimedia 2015. FSD50K: E. Fonseca et al., "FSD50K: an Open Dataset of Human-Labeled Sound
Events", arXiv:2010.00475.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml
from pydantic import TypeAdapter

from audiogen.data.fetching.download import Download
from audiogen.data.intake.naming import clean_name
from audiogen.data.intake.spdx import spdx
from audiogen.data.metadata import Metadata, csv_records
from audiogen.storage import read_json

ESC_LICENCES: Mapping[str, str] = {  # the file names no versions; those of the sets are 3.0
    "CC-BY": "CC-BY-3.0",
    "CC-BY-NC": "CC-BY-NC-3.0",
}
# One clip, 5-141683-A, is spelt "5-141683-Ad" there.
ESC_LINE = re.compile(
    r"- \[(?P<clip>\d-\d+-[A-Z])\w*\.\w+\]:\s+clip derived from (?P<title>.*)"
    r" \((?P<source>https?://\S+)\) by (?P<author>.+) \[(?P<licence>[^\[\]]+)\]\s*"
)
ESCAPE = re.compile(r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})")
SOUND_SUFFIX = re.compile(r"\.(wav|aiff?|mp3|flac|ogg|m4a)$", re.I)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """An archive of a set.

    Attributes:
        parts: the files it is split into, in the order of their disks.
        unpacked_bytes: the most that what is taken from it may hold.
        inside: what the paths in the archive begin with, which is left off.
    """

    parts: tuple[Download, ...]
    unpacked_bytes: int
    inside: str = ""

    @property
    def checksum(self) -> str:
        """That of its last part, whose directory has the checksums of all files."""
        return self.parts[-1].checksum


@dataclass(frozen=True, kw_only=True)
class PublishedSet:
    """A set of sounds that others have published.

    Attributes:
        name: as the command line calls it.
        title: as its authors call it.
        licence: of the set as a whole, an SPDX identifier.
        terms: of the set as a whole, in a sentence or two.
        bundles: its archives, the small ones first.
        tables: the files that tell of its clips, as paths in the folder.
        notices: further texts that are unpacked.
        num_clips: rows of its tables.
    """

    name: str
    title: str
    licence: str
    terms: str
    bundles: tuple[Bundle, ...]
    tables: frozenset[str]
    notices: frozenset[str]
    num_clips: int

    def read_clips(self, folder: Path) -> list[Metadata]:
        """Return what the tables in a folder tell of each clip."""
        return READERS[self.name](folder, self.licence)


def read_esc(folder: Path, licence: str, *, esc10_only: bool = False) -> list[Metadata]:
    """Return the clips of ESC-50, or of its part ESC-10, from the folder where it was unpacked.

    Author, source and licence of each clip stand in the LICENSE file of the set. A clip that it
    does not list has no author and the licence of the set.

    Raises:
        ValueError: the table is not that of ESC-50.
    """
    told = _esc_lines(folder / "LICENSE")
    columns = ("filename", "fold", "category", "esc10", "src_file")
    clips = []
    for row in _rows(folder / "meta" / "esc50.csv", columns):
        if esc10_only and row["esc10"] != "True":
            continue
        line = told.get(row["filename"].rpartition("-")[0], {})  # without the class
        label = clean_name(row["category"])
        clips.append(
            Metadata(
                file=f"audio/{row['filename']}",
                label=label,
                prompt=caption(label, line.get("title", "")),
                author=line.get("author", ""),
                source=line.get("source", ""),
                licence=line.get("licence", licence),
                source_id=row["src_file"],
                fold=row["fold"],
            )
        )
    return clips


def read_fsd50k(folder: Path, _: str = "") -> list[Metadata]:
    """Return the clips of FSD50K: its part "train" to train on, "val" and "eval" held out.

    A clip that its metadata do not list has neither author nor licence.

    Raises:
        ValueError: the tables are not those of FSD50K.
    """
    clips = []
    for part in ("dev", "eval"):
        known = read_json(folder / "FSD50K.metadata" / f"{part}_clips_info_FSD50K.json")
        table = folder / "FSD50K.ground_truth" / f"{part}.csv"
        columns = ("fname", "labels", "split") if part == "dev" else ("fname", "labels")
        for row in _rows(table, columns):
            number = row["fname"]
            told = known.get(number, {})
            label = clean_name(row["labels"].split(",")[0])  # from special to general
            clips.append(
                Metadata(
                    file=f"FSD50K.{part}_audio/{number}.wav",
                    label=label,
                    prompt=caption(label, str(told.get("title", ""))),
                    author=_plain(str(told.get("uploader", ""))),
                    source=f"https://freesound.org/s/{number}/",
                    licence=spdx(_plain(str(told.get("license", "")))),
                    source_id=number,
                    split="train" if row.get("split") == "train" else "held_out",
                )
            )
    return clips


def caption(label: str, title: str) -> str:
    """Put a label before the title of a recording; a title without words adds nothing."""
    name = _plain(SOUND_SUFFIX.sub("", _plain(title)).replace("_", " ")).rstrip(" .")
    if name.casefold() == label.casefold() or not any(letter.isalpha() for letter in name):
        return label
    return f"{label}: {name}"


def _esc_lines(path: Path) -> dict[str, dict[str, str]]:
    """Return what the LICENSE file of ESC-50 says of each clip, such as "1-100032-A"."""
    found = map(ESC_LINE.fullmatch, path.read_text(encoding="utf-8-sig").splitlines())
    return {
        line["clip"]: {
            "title": _unescaped(line["title"]),
            "source": line["source"],
            "author": _plain(_unescaped(line["author"])),
            "licence": ESC_LICENCES.get(line["licence"]) or spdx(line["licence"]),
        }
        for line in found
        if line
    }


def _unescaped(text: str) -> str:
    r"""Read the letters that the LICENSE file of ESC-50 writes as `\xf6` and `\u200b`."""
    return ESCAPE.sub(lambda found: chr(int(found[1] or found[2], 16)), text)


def _plain(text: str) -> str:
    """Return text on one line, without letters that cannot be seen or written."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of a table, which all fill the columns asked for."""
    for line, row in csv_records(path):
        if missing := [name for name in columns if not row.get(name)]:
            raise ValueError(f"{path}:{line}: there is no {', '.join(missing)}.")
        yield row


READERS: Mapping[str, Callable[[Path, str], list[Metadata]]] = {
    "esc50": read_esc,
    "esc10": partial(read_esc, esc10_only=True),
    "fsd50k": read_fsd50k,
}
SETS: Mapping[str, PublishedSet] = TypeAdapter(dict[str, PublishedSet]).validate_python(
    yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
)
"""The sets that `audiogen data fetch` knows, by name."""
