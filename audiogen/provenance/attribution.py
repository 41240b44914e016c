"""ATTRIBUTION.csv: the sounds that a model was trained on, whose they are, under which licence."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from audiogen.data.manifest import ManifestRow

ATTRIBUTION_FILE = "ATTRIBUTION.csv"
COLUMNS = ("path", "author", "licence", "source", "sha256", "source_id")
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
        text = path.read_bytes().decode("utf-8")
        header, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a table of attributions ({error}).") from None
    if tuple(header) != COLUMNS or any(len(line) != len(COLUMNS) for line in lines):
        raise ValueError(f"{path}: not a table of attributions; expected {', '.join(COLUMNS)}.")
    return [
        dict(zip(COLUMNS, (cell.removeprefix("'") for cell in line), strict=True)) for line in lines
    ]
