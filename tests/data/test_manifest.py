import dataclasses
import json
from pathlib import Path

import pytest

from audiogen.data.manifest import ManifestRow, read_manifest, read_split, write_manifest

ROWS = [
    ManifestRow(
        path="002 - Rain/regen - ☔ \u2028 a.wav",
        sha256="0" * 64,
        seconds=5.0,
        sample_rate=44100,
        channels=2,
        prompt='rain, "heavy"\nat night',
        label="rain",
        split="train",
        source_id="regen",
        licence="CC0-1.0",
        author="Ana",
        source="https://example.org",
        role="slice",
    ),
    ManifestRow(path="x.wav", verdict="refused", reason="empty"),
]


def test_rows_come_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "run" / "manifest.jsonl"
    write_manifest(path, ROWS)
    assert read_manifest(path) == ROWS
    assert path.read_bytes().count(b"\n") == 2
    assert [entry.name for entry in path.parent.iterdir()] == ["manifest.jsonl"]


def test_a_split_leaves_out_what_lies_on_the_other_side_or_was_refused(tmp_path: Path) -> None:
    kept = dataclasses.replace(ROWS[0], path="b.wav", split="held_out")
    write_manifest(tmp_path / "m.jsonl", [*ROWS, kept])
    assert read_split(tmp_path / "m.jsonl", "train") == [ROWS[0]]
    assert read_split(tmp_path / "m.jsonl", "held_out") == [kept]


def test_the_fields_are_those_of_the_design(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.jsonl", ROWS)
    first = json.loads((tmp_path / "m.jsonl").read_text("utf-8").split("\n")[0])
    assert " ".join(first) == (
        "path sha256 seconds sample_rate channels prompt wordings label split source_id licence "
        "author source role caption_from verdict reason warnings copy_of archive offset num_bytes"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "JSON"),
        ('{"sha256": ""}', "path"),
        ('{"path": "a.wav", "verdict": "refused", "reason": "empty", "x": 1}', "x"),
        ('{"path": "a.wav", "seconds": "5", "sample_rate": 8000, "channels": 1}', "seconds"),
        ('{"path": "../a.wav", "seconds": 5, "sample_rate": 8000, "channels": 1}', "inside"),
        ('{"path": "/a.wav", "seconds": 5, "sample_rate": 8000, "channels": 1}', "inside"),
        ('{"path": "a.wav", "seconds": 0, "sample_rate": 8000, "channels": 1}', "seconds"),
        ('{"path": "a.wav", "verdict": "refused"}', "reason"),
        ('{"path": "a.wav", "verdict": "refused", "reason": "empty", "split": "test"}', "split"),
        ("", "JSON"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    good = json.dumps(dataclasses.asdict(ROWS[0]))
    path.write_text(f"{good}\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        read_manifest(path)
    assert f"{path}:2:" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 4


def test_a_cut_or_missing_manifest_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    with pytest.raises(ValueError, match="audiogen prepare"):
        read_manifest(path)
    write_manifest(path, ROWS)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="cut off"):
        read_manifest(path)


def test_a_failed_write_keeps_the_old_manifest(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    write_manifest(path, ROWS)
    with pytest.raises(ValueError, match="JSON"):
        write_manifest(path, [dataclasses.replace(ROWS[0], seconds=float("inf"))])
    assert read_manifest(path) == ROWS
