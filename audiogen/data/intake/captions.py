"""What a file is said to be: metadata tables, caption sidecars, folder and file names."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast, get_args

from audiogen.data.intake.licences import KINDS, SAMPLING_PLUS
from audiogen.data.manifest import Role
from audiogen.storage import parse_json

METADATA_NAMES = ("metadata.csv", "metadata.jsonl")
MAX_SIDECAR_BYTES = 10_000
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "file": ("file", "path", "file_name", "filename"),
    "prompt": ("caption", "prompt", "text"),
    "label": ("label", "category", "class"),
    "author": ("author",),
    "source": ("source", "url"),
    "licence": ("licence", "license"),
    "source_id": ("source_id",),
    "role": ("role",),
    "split": ("split",),
}
ESC_NAME = re.compile(r"\d-(?P<source>\d+)-[A-Z](-\d+)?")  # ESC-10 and ESC-50: FOLD-ID-TAKE(-CLASS)
TAKE_MARK = re.compile(r"([\s_.-]+(take[\s_.-]*)?([A-Za-z]|\d{1,3})|\s*\(\d{1,3}\))$", re.I)
CREATIVE_COMMONS = re.compile(
    r"(?:cc|creative commons|creativecommons\.org/licenses)?[\s/_-]*"
    r"(?P<terms>\b(?:by|attribution)(?:[\s/_-]*(?:nc|sa|nd|non-?commercial|share-?alike"
    r"|no-?deriv(?:ative)?s?(?: works)?))*)"
    r"[\s/_-]*v?(?P<version>[1-4]\.\d)(?![\d.])"
)
PUBLIC_DOMAIN = re.compile(
    r"\b(?:cc[\s-]?0|creative commons (?:0|zero)|(?:creativecommons\.org/)?publicdomain/zero)\b"
    r"(?:[\s/-]?v?1\.0(?![\d.]))?"
)
SAMPLING_PLUS_TEXT = re.compile(
    r"(?:creativecommons\.org/licenses/|cc[\s-]|creative commons )?"
    r"\bsampling(?:\+|[\s-]?plus)(?:[\s/-]*1\.0(?![\d.]))?"
)
FILLER = frozenset(
    re.findall(
        r"\w+",
        "http https www license licence licensed under the a and international unported universal"
        " generic public domain dedication deed legalcode en",
    )
)
"""Words beside the name of a licence that do not change it; any other word might."""
SHORT_TERMS = (
    (r"attribution", "by"),
    (r"non-?commercial", "nc"),
    (r"share-?alike", "sa"),
    (r"no-?deriv(?:ative)?s?(?: works)?", "nd"),
)
OTHER_LICENCES = {"apache 2.0": "Apache-2.0"}


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is known of a file before it is opened; the fields are those of `ManifestRow`."""

    prompt: str
    label: str
    author: str
    source: str
    licence: str
    source_id: str
    role: Role


def describe(path: PurePosixPath, entry: Mapping[str, str], sidecar: str) -> Description:
    """Put together what metadata, sidecar, folder name and file name say, in this order.

    Args:
        path: of the sound, relative to the data folder.
        entry: its metadata by the keys of `COLUMNS`; empty if there is none.
        sidecar: text of the `.txt` beside it; empty if there is none.
    """
    parent = path.parent.name
    folder = "" if parent.endswith(".tar") else clean_name(parent)  # an archive says nothing
    label = entry.get("label") or folder
    stem = clean_name(TAKE_MARK.sub("", path.stem) or path.stem)
    named = stem if any(letter.isalpha() for letter in stem) else ""  # "0001" describes nothing
    return Description(
        prompt=entry.get("prompt") or sidecar or label or named,
        label=label,
        author=entry.get("author", ""),
        source=entry.get("source", ""),
        licence=spdx(entry.get("licence", "")),
        source_id=entry.get("source_id") or source_of(path),
        role=cast("Role", entry.get("role") or "whole"),
    )


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


def spdx(licence: str) -> str:
    """Return the SPDX identifier where the text or URL makes it evident, else the text.

    Evident is a text that names one licence and says nothing else: "CC BY 4.0, no resale", "not
    CC0" and "CC0 or CC BY 4.0" stay as they are.
    """
    text = " ".join(licence.split())
    lower = text.lower()
    if not text.isascii():  # letters that only look like others
        return text
    known = {name.lower(): name for name in KINDS} | OTHER_LICENCES
    if lower in known:
        return known[lower]
    names: set[str] = set()

    def note(name: str) -> str:
        names.add(name)
        return " "

    rest = SAMPLING_PLUS_TEXT.sub(lambda _: note(SAMPLING_PLUS), lower)
    rest = PUBLIC_DOMAIN.sub(lambda _: note("CC0-1.0"), rest)
    rest = CREATIVE_COMMONS.sub(lambda found: note(_creative_commons(found)), rest)
    is_plain = re.fullmatch(r"[\w\s:/.,()-]*", rest) and FILLER.issuperset(re.findall(r"\w+", rest))
    return names.pop() if is_plain and len(names) == 1 else text


def _creative_commons(found: re.Match[str]) -> str:
    """The SPDX identifier of a match of `CREATIVE_COMMONS`."""
    terms = found["terms"]
    for pattern, short in SHORT_TERMS:
        terms = re.sub(pattern, short, terms)
    given = set(re.findall(r"by|nc|sa|nd", terms))
    order = [term for term in ("by", "nc", "nd", "sa") if term in given]
    return f"CC-{'-'.join(order)}-{found['version']}".upper()


def read_sidecar(path: Path) -> str:
    """Return the caption in a text file, on one line; empty if there is no such file.

    Raises:
        ValueError: if it is not a short UTF-8 text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SIDECAR_BYTES + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ValueError(f"{path}: the caption cannot be read ({error.strerror}).") from None
    if len(content) > MAX_SIDECAR_BYTES:
        raise ValueError(f"{path}: a caption has at most {MAX_SIDECAR_BYTES} bytes.")
    return parse_caption(content)


def parse_caption(content: bytes) -> str:
    """Return a caption on one line; ValueError when it is not UTF-8."""
    return " ".join(content.decode("utf-8-sig").split())  # UnicodeDecodeError is a ValueError


def parse_record(path: Path, content: bytes) -> dict[str, str]:
    """Return what the JSON beside a sound says, with the keys of `COLUMNS`.

    Raises:
        ValueError: it is no JSON object, or a value in it is no text.
    """
    record = _record(path, 1, parse_json(content, str(path)))
    return _entry(path, 1, {**record, "file": path.name})


def read_metadata(path: Path) -> list[dict[str, str]]:
    """Read a CSV (comma, semicolon or tab) or JSONL table about files.

    Returns:
        one mapping per row, with the keys of `COLUMNS` that have a value; "file" always has one.

    Raises:
        ValueError: naming the file and the line, if the table cannot be understood.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8.") from None
    records = _csv_records(path, text) if path.suffix == ".csv" else _json_records(path, text)
    return [_entry(path, line, record) for line, record in records]


def _csv_records(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        if not set(names) & set(COLUMNS["file"]):
            raise ValueError(
                f"{path}:1: no column says which file a row is about.\n"
                f"Looked for {', '.join(COLUMNS['file'])}; found {', '.join(names) or 'nothing'}."
            )
        for cells in reader:
            if len(cells) > len(names):
                raise ValueError(
                    f"{path}:{reader.line_num}: {len(cells)} cells under {len(names)} columns.\n"
                    f'Put texts that hold a {delimiter!r} between double quotes ("...").'
                )
            if any(cell.strip() for cell in cells):
                yield reader.line_num, dict(zip(names, cells, strict=False))
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: not a CSV row ({error}).") from None


def _json_records(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _record(path, number, parse_json(line, f"{path}:{number}"))


def _record(path: Path, number: int, record: object) -> dict[str, str]:
    """The texts of a JSON object under known keys."""
    if not isinstance(record, dict):
        raise ValueError(f"{path}:{number}: expected an object, {{...}}, on every line.")
    known = {name for names in COLUMNS.values() for name in names}
    values = {str(key).strip().lower(): value for key, value in record.items()}
    return {key: _text(path, number, key, values[key]) for key in known & values.keys()}


def _text(path: Path, line: int, key: str, value: object) -> str:
    """Accept texts and whole numbers (a source id) that can be written again."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{path}:{line}: {key!r} must be a text, got {value!r}.")
    text = str(value)
    if text.encode("utf-8", "ignore").decode() != text:
        raise ValueError(f"{path}:{line}: {key!r} holds half a character (a lone surrogate).")
    return text


def _entry(path: Path, line: int, record: Mapping[str, str]) -> dict[str, str]:
    """Keep the recognised columns of a record under the names used here."""
    entry: dict[str, str] = {}
    for key, names in COLUMNS.items():
        value = next((record[name] for name in names if record.get(name, "").strip()), "")
        if value:
            entry[key] = value.strip() if key == "file" else " ".join(value.split())
    if "file" not in entry:
        raise ValueError(f"{path}:{line}: the row does not say which file it is about.")
    if entry.get("role", "whole") not in get_args(Role):
        roles = ", ".join(get_args(Role))
        raise ValueError(f"{path}:{line}: role is one of {roles}, got {entry['role']!r}.")
    return entry
