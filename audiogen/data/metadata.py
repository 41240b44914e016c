"""What is said of sounds: rows of `metadata.csv` and `metadata.jsonl`, and JSON beside sounds."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from audiogen.storage import parse_json

_log = logging.getLogger(__name__)
METADATA_NAMES = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
"""In any case."""
FILE_COLUMNS = ("file", "path", "file_name", "filename")
CAPTION_COLUMNS = ("caption", "prompt", "text", "description", "title", "transcription", "tags")

Cut = Literal["whole", "slice", "loop"]
"""A sound with its beginning and end, an excerpt of a longer one, or a seamless loop."""
Split = Literal["train", "held_out", ""]
SPLITS: Mapping[str, Split] = {  # what metadata may call the sides
    "train": "train",
    "training": "train",
    "held_out": "held_out",
    "test": "held_out",
    "val": "held_out",
    "valid": "held_out",
    "validation": "held_out",
}


WORDING_COLUMN = re.compile(r"(caption|prompt|text|description)_?(?P<number>\d{1,3})")
"""Of one of several captions: "caption_1" to "caption_5", or "caption2" beside "caption"."""
WORDING_LISTS = ("captions", "prompts", "wordings")
"""Of JSON records: several captions in one list."""
LICENCE_COLUMN = re.compile(
    r"licen[cs]es?(_(url|name|id|type|spdx))?$|copyright|(usage_)?rights|terms"
)


def _column(name: object) -> str:
    """The name of a column, as it is known here."""
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def _holds_wordings(name: str) -> bool:
    """Whether a column holds one of several captions, or all of them."""
    return name in WORDING_LISTS or WORDING_COLUMN.fullmatch(name) is not None


def _wordings(record: Mapping[Any, Any]) -> list[str]:
    """The captions that stand under numbered columns, in the order of their numbers, or in a list.

    The same words twice are said once.
    """
    numbered: list[tuple[int, Any]] = []
    for key, value in record.items():
        if found := WORDING_COLUMN.fullmatch(_column(key)):
            numbered.append((int(found["number"]), value))
        elif _column(key) in WORDING_LISTS:
            listed = value if isinstance(value, list | tuple) else [value]
            numbered += enumerate(listed)
    ordered = (text for _, text in sorted(numbered, key=itemgetter(0)) if text is not None)
    texts = (" ".join(str(text).split()) for text in ordered)
    return list(dict.fromkeys(text for text in texts if text))


def _side(name: object) -> object:
    return SPLITS.get(name.lower(), name) if isinstance(name, str) else name


class Metadata(BaseModel):
    """What is said of one sound; an empty text says nothing.

    The fields mean what those of `ManifestRow` do. Columns with other names are left aside.

    Attributes:
        file: that it is said of, as it is written there.
        wordings: further captions of the sound.
        fold: of a published cross-validation; it is written for other programs.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        coerce_numbers_to_str=True,
        # With this pydantic refuses half a character (a lone surrogate), too, which JSON may hold.
        str_strip_whitespace=True,
    )

    file: str = Field(validation_alias=AliasChoices(*FILE_COLUMNS))
    label: str = Field(default="", validation_alias=AliasChoices("label", "category", "class"))
    prompt: str = Field(
        default="",
        validation_alias=AliasChoices(*CAPTION_COLUMNS),
        serialization_alias="caption",
    )
    wordings: tuple[str, ...] = ()
    author: str = ""
    source: str = Field(default="", validation_alias=AliasChoices("source", "url"))
    licence: str = ""
    """What a column says that looks like one of licences: what is not understood is no licence
    that is allowed."""
    source_id: str = ""
    role: Cut = "whole"
    split: Annotated[Split, BeforeValidator(_side)] = ""
    fold: str = ""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, record: Any) -> Any:
        """Read names in any case; put texts on one line, and leave out what is empty."""
        if not isinstance(record, dict):
            return record
        plain: dict[str, Any] = {}
        wordings = _wordings(record)
        for key, value in record.items():
            name, text = _column(key), value
            if _holds_wordings(name):
                continue
            if isinstance(text, list | dict) and name not in FILE_COLUMNS:  # tags, licences
                text = ", ".join(map(str, text))
            if isinstance(text, str):
                text = text.strip() if name in FILE_COLUMNS else " ".join(text.split())
            if LICENCE_COLUMN.match(name):
                name = "licence"
            if text not in (None, ""):
                plain.setdefault(name, text)
        if wordings and not any(name in plain for name in CAPTION_COLUMNS):
            plain["caption"] = wordings.pop(0)
        if wordings:
            plain["wordings"] = tuple(wordings)
        return plain

    def to_record(self) -> dict[str, str]:
        """Return what is known, by the names of columns."""
        record = self.model_dump(by_alias=True, exclude_defaults=True, exclude={"wordings"})
        more = {f"caption_{number}": text for number, text in enumerate(self.wordings, start=2)}
        return record | more


KNOWN_COLUMNS = tuple(
    str(name)
    for key, one in Metadata.model_fields.items()
    if key != "wordings"
    for name in (
        one.validation_alias.choices if isinstance(one.validation_alias, AliasChoices) else [key]
    )
)


def read_metadata(path: Path) -> list[Metadata]:
    """Read a CSV (comma, semicolon or tab) or JSONL table about files.

    Raises:
        ValueError: naming the file and the line, if the table cannot be understood.
    """
    is_table = path.suffix.lower() != ".jsonl"
    records = list(csv_records(path) if is_table else _json_records(path))
    _report_unknown(path, [record for _, record in records if isinstance(record, dict)])
    return [parse_metadata(record, f"{path}:{line}") for line, record in records]


def _report_unknown(path: Path, records: Sequence[Mapping[object, object]]) -> None:
    """Log the columns that are not read, with what may have been meant."""
    known = dict.fromkeys(KNOWN_COLUMNS)
    columns = dict.fromkeys(key for record in records for key in record if key is not None)
    for column in columns:
        name = _column(column)
        if name not in known and not _holds_wordings(name) and not LICENCE_COLUMN.match(name):
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            _log.warning("%s: column %r is not read; %s", path, column, hint)


def parse_metadata(record: object, place: str) -> Metadata:
    """Return what a record says of a sound; ValueError names `place` if it says no such thing."""
    try:
        return Metadata.model_validate(record)
    except ValidationError as error:
        fault = first_fault(error)
        if error.errors()[0]["type"] == "missing":
            fault = f"it does not say which file it is about, under {', '.join(FILE_COLUMNS)}"
        raise ValueError(f"{place}: {fault}.") from None


def first_fault(error: ValidationError) -> str:
    """Say in one line what is wrong first, and where."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}, got {first['input']!r:.60}" if where else first["msg"]


def metadata_csv(rows: Sequence[Metadata]) -> str:
    """Return the text of a `metadata.csv`; columns in which nothing stands are left out."""
    records = [row.to_record() for row in rows]
    names = list(Metadata(file="-").model_dump(by_alias=True, exclude={"wordings"}))
    most = max((len(row.wordings) for row in rows), default=0)
    behind = names.index("caption") + 1
    names[behind:behind] = [f"caption_{number}" for number in range(2, most + 2)]
    text = io.StringIO(newline="")
    columns = [name for name in names if any(name in record for record in records)]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def csv_records(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the lines of a CSV table that hold something, by the names in its first line.

    Raises:
        ValueError: naming the file and the line that is not CSV, or has too many cells.
    """
    text = _text(path)
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    lines = io.StringIO(text, newline="")
    reader = csv.DictReader(lines, delimiter=delimiter, restval="", strict=True)
    try:
        for record in reader:
            if None in record:
                raise ValueError(
                    f"{path}:{reader.line_num}: more cells than columns.\n"
                    f'Put texts that hold a {delimiter!r} between double quotes ("...").'
                )
            if any(cell.strip() for cell in record.values()):
                yield reader.line_num, record
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.reader.line_num}: not a CSV row ({error}).") from None


def _json_records(path: Path) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            yield number, parse_json(line, f"{path}:{number}")


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8.") from None
