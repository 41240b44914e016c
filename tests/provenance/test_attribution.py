"""The table of attributions: complete, read back equal, and no cell that a spreadsheet runs."""

import csv
import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiogen.data.manifest import ManifestRow
from audiogen.provenance.attribution import COLUMNS, attribution_csv, read_attribution

ROW = ManifestRow(
    path="rain/a.wav",
    sha256="ab" * 32,
    seconds=1.0,
    sample_rate=8000,
    channels=1,
    source_id="a",
    licence="CC-BY-4.0",
    author="Ana",
    source="https://example.org/a",
)
HOSTILE = ["=1+1", '=HYPERLINK("http://x","y")', "+1", "-2", "@SUM(A1)", "\t=1", "'=1", "'", "\r=1"]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_is_a_formula(text: str, tmp_path: Path) -> None:
    row = dataclasses.replace(ROW, path=f"{text}.wav", author=text, source=text, licence=text)
    path = tmp_path / "ATTRIBUTION.csv"
    path.write_text(attribution_csv([row]), encoding="utf-8", newline="")
    with path.open(encoding="utf-8", newline="") as file:
        for cells in csv.reader(file):
            assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
    assert read_attribution(path)[0]["author"] == text


def test_every_cell_is_quoted_so_that_no_other_delimiter_splits_it() -> None:
    line = attribution_csv([dataclasses.replace(ROW, author="x;=1+1")]).splitlines()[1]
    assert '"x;=1+1"' in line
    assert line.startswith('"')


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=3))
def test_whatever_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, texts) -> None:  # type: ignore[no-untyped-def]
    rows = [dataclasses.replace(ROW, author=one, source=one, source_id=one) for one in texts]
    path = tmp_path_factory.mktemp("table") / "ATTRIBUTION.csv"
    path.write_text(attribution_csv(rows), encoding="utf-8", newline="")
    expected = [{name: str(getattr(row, name)) for name in COLUMNS} for row in rows]
    assert read_attribution(path) == expected


@pytest.mark.parametrize(
    "content", [b"", b"path,author\na,b\n", b"\xff", b'"path', b'"path","author"\n"a"\n']
)
def test_another_table_is_an_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ATTRIBUTION.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a table of attributions"):
        read_attribution(path)
