"""ATTRIBUTION.csv: the sounds that a model was trained on, whose they are, under which licence."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from audiogen.data.manifest import ManifestRow

ATTRIBUTION_FILE = "ATTRIBUTION.csv"
COLUMNS: Mapping[str, str] = {
    "path": "below the folder of sounds, or below the archive's name",
    "author": "who made the recording",
    "licence": "SPDX where evident, else as written",
    "source": "where the recording comes from, mostly a URL",
    "sha256": "of the bytes of the file",
    "source_id": "the recording that the file comes from",
    "archive": "tar archive, or its address, that holds the file; empty for a folder's",
    "seconds": "length",
    "prompt": "caption",
    "label": "class",
}
"""What is told of each sound, and what it means."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
"""With these a cell begins that a spreadsheet would run as a formula; the last one is the mark
that prevents it, so that reading can take off what writing has put on."""


def plain_cell(text: str) -> str:
    """Return a cell that no spreadsheet runs as a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def attribution_csv(rows: Sequence[ManifestRow], before: Sequence[Mapping[str, str]] = ()) -> str:
    """Return the text of the table: a line per row, every cell quoted, no cell a formula.

    Args:
        rows: of training files.
        before: lines of another such table, which follow.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([plain_cell(str(getattr(row, column))) for column in COLUMNS])
    for line in before:
        writer.writerow([plain_cell(line[column]) for column in COLUMNS])
    return text.getvalue()


def read_attribution(path: Path) -> list[dict[str, str]]:
    """Read what `attribution_csv` made, one mapping of `COLUMNS` per line.

    Raises:
        ValueError: it is not such a table.
    """
    try:
        return parse_attribution(path.read_bytes().decode("utf-8"))
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path}: not a table of attributions ({error}).") from None


def parse_attribution(text: str) -> list[dict[str, str]]:
    """Return the lines of a table; see `read_attribution`.

    Raises:
        ValueError, csv.Error: the text is not such a table.
    """
    header, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    if header != list(COLUMNS) or any(len(line) != len(COLUMNS) for line in lines):
        raise ValueError(f"expected the columns {', '.join(COLUMNS)}")
    return [
        dict(zip(COLUMNS, (cell.removeprefix("'") for cell in line), strict=True)) for line in lines
    ]
