"""Published sets of sounds: where they lie, their checksums, and what their tables say.

ESC-50 and its part ESC-10: K. J. Piczak, "ESC: Dataset for Environmental Sound Classification",
ACM Multimedia 2015. FSD50K: E. Fonseca et al., "FSD50K: an Open Dataset of Human-Labeled Sound
Events", arXiv:2010.00475.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from audiogen.data.fetching.download import Download
from audiogen.data.intake.naming import clean_name
from audiogen.data.intake.spdx import spdx
from audiogen.data.metadata import Metadata, csv_records
from audiogen.storage import read_json

ESC_COMMIT = "33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6"
ZENODO = "https://zenodo.org/records/4060432/files"
ESC_LICENCES: Mapping[str, str] = {  # the file names no versions; those of the sets are 3.0
    "CC-BY": "CC-BY-3.0",
    "CC-BY-NC": "CC-BY-NC-3.0",
}
ESC_FILE = re.compile(r"(?P<clip>\d-(?P<source>\d+)-[A-Z])-\d+\.wav")
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
        inside: folder in the archive that all lies in, and which is left off; "" for none.
    """

    parts: tuple[Download, ...]
    unpacked_bytes: int
    inside: str = ""

    @property
    def name(self) -> str:
        """That of its last part, which holds the directory."""
        return self.parts[-1].name


@dataclass(frozen=True, kw_only=True)
class PublishedSet:
    """A set of sounds that others have published.

    Attributes:
        name: as the command line calls it.
        title: as its authors call it.
        terms: of the set as a whole, in a sentence or two.
        bundles: its archives, the small ones first.
        tables: the files that `read_clips` reads, as paths in the folder.
        notices: further texts that are unpacked.
        num_clips: rows of its tables.
        read_clips: says what the tables in a folder tell of each clip.
    """

    name: str
    title: str
    terms: str
    bundles: tuple[Bundle, ...]
    tables: frozenset[str]
    notices: frozenset[str]
    num_clips: int
    read_clips: Callable[[Path], list[Metadata]]


def read_esc(folder: Path, *, esc10_only: bool, licence: str) -> list[Metadata]:
    """Return the clips of ESC-50, or of its part ESC-10.

    Author, source and licence of each clip stand in the LICENSE file of the set. A clip that it
    does not list has no author and the licence of the set.

    Args:
        folder: where the set was unpacked.
        esc10_only: leave out the clips that are not in ESC-10.
        licence: of the set as a whole.

    Raises:
        ValueError: the table is not that of ESC-50.
    """
    table = folder / "meta" / "esc50.csv"
    told = _esc_lines(folder / "LICENSE")
    clips = []
    for row in _rows(table, ("filename", "fold", "category", "esc10", "src_file")):
        if esc10_only and row["esc10"] != "True":
            continue
        named = ESC_FILE.fullmatch(row["filename"])
        if named is None or named["source"] != row["src_file"]:
            raise ValueError(f"{table}: {row['filename']!r} is no name of a clip of ESC-50.")
        line = told.get(named["clip"], {})
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


def read_fsd50k(folder: Path) -> list[Metadata]:
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
            side = row["split"] if part == "dev" else "val"
            if not (number.isascii() and number.isdecimal()) or side not in {"train", "val"}:
                raise ValueError(f"{table}: {number!r} of {side!r} is no clip of FSD50K.")
            told = known.get(number) if isinstance(known, dict) else None
            info = told if isinstance(told, dict) else {}
            label = clean_name(row["labels"].split(",")[0])  # from special to general
            clips.append(
                Metadata(
                    file=f"FSD50K.{part}_audio/{number}.wav",
                    label=label,
                    prompt=caption(label, str(info.get("title", ""))),
                    author=_plain(str(info.get("uploader", ""))),
                    source=f"https://freesound.org/s/{number}/",
                    licence=spdx(_plain(str(info.get("license", "")))),
                    source_id=number,
                    split="train" if side == "train" else "held_out",
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


def _zenodo(name: str, size: int, md5: str) -> Download:
    url = f"{ZENODO}/{name}?download=1"
    return Download(name=name, url=url, size=size, checksum=f"md5:{md5}")


ESC50 = PublishedSet(
    name="esc50",
    title="ESC-50",
    terms="ESC-50 as a whole is published under CC BY-NC 3.0 (its README.md and LICENSE); the"
    " licences of the rows are those of the recordings that its clips were cut from.",
    bundles=(
        Bundle(
            parts=(
                Download(
                    name=f"ESC-50-{ESC_COMMIT}.zip",
                    url=f"https://github.com/karolpiczak/ESC-50/archive/{ESC_COMMIT}.zip",
                    size=645_832_161,
                    checksum="sha256:"
                    "661183a6f53ef04f12c9bd618fed0ddc1713280d6c94a5a5431e844ba6f6a21f",
                ),
            ),
            unpacked_bytes=900_000_000,
            inside=f"ESC-50-{ESC_COMMIT}",
        ),
    ),
    tables=frozenset({"LICENSE", "meta/esc50.csv"}),
    notices=frozenset({"README.md"}),
    num_clips=2000,
    read_clips=partial(read_esc, esc10_only=False, licence="CC-BY-NC-3.0"),
)
ESC10 = replace(
    ESC50,
    name="esc10",
    title="ESC-10",
    terms="ESC-10 as a whole is published under CC BY 3.0 (its LICENSE); the licences of the rows"
    " are those of the recordings that its clips were cut from.",
    bundles=(replace(ESC50.bundles[0], unpacked_bytes=190_000_000),),
    num_clips=400,
    read_clips=partial(read_esc, esc10_only=True, licence="CC-BY-3.0"),
)
FSD50K = PublishedSet(
    name="fsd50k",
    title="FSD50K",
    terms="FSD50K as a whole is published under CC BY 4.0 (FSD50K.doc); its authors ask to be"
    " written to before commercial use. The licences of the rows are those of the clips.",
    bundles=(
        Bundle(
            parts=(
                _zenodo("FSD50K.ground_truth.zip", 334_701, "ca27382c195e37d2269c4c866dd73485"),
            ),
            unpacked_bytes=100_000_000,
        ),
        Bundle(
            parts=(_zenodo("FSD50K.metadata.zip", 6_700_838, "b9ea0c829a411c1d42adb9da539ed237"),),
            unpacked_bytes=200_000_000,
        ),
        Bundle(
            parts=(_zenodo("FSD50K.doc.zip", 6_984, "3516162b82dc2945d3e7feba0904e800"),),
            unpacked_bytes=10_000_000,
        ),
        Bundle(  # 27.9 h at 44.1 kHz, 16 bit, mono
            parts=(
                _zenodo("FSD50K.eval_audio.z01", 3 << 30, "3090670eaeecc013ca1ff84fe4442aeb"),
                _zenodo("FSD50K.eval_audio.zip", 3_037_675_767, "6fa47636c3a3ad5c7dfeba99f2637982"),
            ),
            unpacked_bytes=9_500_000_000,
        ),
        Bundle(  # 80.4 h
            parts=(
                _zenodo("FSD50K.dev_audio.z01", 3 << 30, "faa7cf4cc076fc34a44a479a5ed862a3"),
                _zenodo("FSD50K.dev_audio.z02", 3 << 30, "8f9b66153e68571164fb1315d00bc7bc"),
                _zenodo("FSD50K.dev_audio.z03", 3 << 30, "1196ef47d267a993d30fa98af54b7159"),
                _zenodo("FSD50K.dev_audio.z04", 3 << 30, "d088ac4e11ba53daf9f7574c11cccac9"),
                _zenodo("FSD50K.dev_audio.z05", 3 << 30, "81356521aa159accd3c35de22da28c7f"),
                _zenodo("FSD50K.dev_audio.zip", 2_306_663_327, "c480d119b8f7a7e32fdb58f3ea4d6c5a"),
            ),
            unpacked_bytes=27_000_000_000,
        ),
    ),
    tables=frozenset(
        {
            "FSD50K.ground_truth/dev.csv",
            "FSD50K.ground_truth/eval.csv",
            "FSD50K.metadata/dev_clips_info_FSD50K.json",
            "FSD50K.metadata/eval_clips_info_FSD50K.json",
        }
    ),
    notices=frozenset(
        {
            "FSD50K.ground_truth/vocabulary.csv",
            "FSD50K.doc/LICENSE-DATASET",
            "FSD50K.doc/README.md",
        }
    ),
    num_clips=51_197,
    read_clips=read_fsd50k,
)
SETS: Mapping[str, PublishedSet] = {one.name: one for one in (ESC50, ESC10, FSD50K)}
"""The sets that `audiogen data fetch` knows, by name."""
