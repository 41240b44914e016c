"""Whatever a user put beside the sounds is read, or it is said that it was not."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import soundfile
import torch

from audiogen.audio.io.files import write_audio
from audiogen.data.intake.licences import LicenceTerms
from audiogen.data.intake.scan import scan_folder, summarise
from audiogen.data.manifest import ManifestRow

OWN = LicenceTerms(i_own_these=True)


def sound(path: Path, seed: int = 0) -> None:
    wav = torch.randn(1, 4000, generator=torch.Generator().manual_seed(seed)) / 10
    write_audio(path, wav, 16_000)


def used(folder: Path, terms: LicenceTerms | None = None) -> dict[str, ManifestRow]:
    rows = scan_folder(folder, terms=terms, held_out=0, allow_none=True)
    return {row.path: row for row in rows if row.verdict == "used"}


@pytest.mark.parametrize("name", ["metadata.tsv", "Metadata.csv", "METADATA.TSV", "metadata.CSV"])
@pytest.mark.parametrize(
    "column", ["caption", "Description", "title", "tags", "transcription", "TEXT"]
)
def test_tables_are_read_in_any_case_and_by_usual_names(
    tmp_path: Path, name: str, column: str
) -> None:
    sound(tmp_path / "a.wav")
    between = "\t" if name.lower().endswith("tsv") else ","
    text = f"file_name{between}{column}\na.wav{between}heavy rain\n"
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert used(tmp_path)["a.wav"].prompt == "heavy rain"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "heavy rain"),
        ("a.TXT", "heavy rain"),
        ("a.wav.txt", "heavy rain"),
        ("A.Wav.Txt", "heavy rain"),
        ("a.json", '{"caption": "heavy rain"}'),
        ("a.JSON", '{"Description": "heavy rain", "bpm": 3}'),
        ("a.wav.json", '{"tags": ["heavy rain"]}'),
    ],
)
def test_files_beside_a_sound_are_read(tmp_path: Path, name: str, text: str) -> None:
    sound(tmp_path / "a.wav")
    (tmp_path / name).write_text(text, encoding="utf-8")
    row = used(tmp_path)["a.wav"]
    assert (row.prompt, row.caption_from) == ("heavy rain", "a file beside it")


@pytest.mark.parametrize("text", ["[1, 2]", "{", '{"role": "melody"}'])
def test_a_record_that_cannot_be_read_is_said(tmp_path: Path, text: str) -> None:
    sound(tmp_path / "a.wav")
    sound(tmp_path / "b.wav", seed=1)
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    rows = {row.path: row.reason for row in scan_folder(tmp_path, held_out=0)}
    assert rows == {"a.wav": "bad_caption", "b.wav": ""}


@pytest.mark.parametrize("suffix", [".wave", ".bwf", ".WAV", ""])
def test_sounds_are_found_under_their_other_names(tmp_path: Path, suffix: str) -> None:
    sound(tmp_path / "a.wav")
    (tmp_path / "a.wav").rename(tmp_path / f"a{suffix}")
    assert used(tmp_path).keys() == {f"a{suffix}"}


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".aifc", "AIFF"), (".aiff", "AIFF"), (".mpga", "MP3"), ("", "FLAC")]
)
def test_other_formats_are_found_too(tmp_path: Path, suffix: str, kind: str) -> None:
    wav = torch.randn(16_000, generator=torch.Generator().manual_seed(0)).numpy() / 10
    soundfile.write(tmp_path / f"a{suffix}", wav, 16_000, format=kind)
    assert used(tmp_path).keys() == {f"a{suffix}"}


def test_what_looks_like_a_table_or_a_caption_and_was_not_read_is_listed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sound(tmp_path / "a.wav")
    for name in ("labels.csv", "captions.xlsx", "b.txt", "README.md", "readme.txt", "cover.jpg"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    scan_folder(tmp_path, held_out=0)
    assert "captions: b.txt, captions.xlsx, labels.csv\n" in caplog.text
    assert "1 .jpg" in caplog.text


def test_columns_that_are_not_known_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sound(tmp_path / "a.wav")
    (tmp_path / "metadata.csv").write_text("file,captoin,colour\na.wav,rain,red\n")
    used(tmp_path)
    assert "column 'captoin' is not read; did you mean caption?" in caplog.text
    assert "column 'colour' is not read; known are" in caplog.text


@pytest.mark.parametrize(
    "column",
    ["license", "License URL", "copyright", "rights", "Usage-Rights", "terms of use", "licenses"],
)
@pytest.mark.parametrize("kind", ["csv", "json"])
def test_nothing_that_looks_like_a_licence_is_overridden(
    tmp_path: Path, column: str, kind: str
) -> None:
    sound(tmp_path / "a.wav")
    sound(tmp_path / "b.wav", seed=1)
    if kind == "csv":
        (tmp_path / "metadata.csv").write_text(f"file,{column}\na.wav,(c) Somebody Else\n")
    else:
        (tmp_path / "a.json").write_text(json.dumps({column: "(c) Somebody Else"}))
    assert used(tmp_path, OWN).keys() == {"b.wav"}


@pytest.mark.parametrize(
    "name", ["LICENSE", "Licence.txt", "COPYING", "copyright.md", "LICENSES.txt", "license_info"]
)
def test_a_licence_of_a_folder_is_that_of_its_sounds(tmp_path: Path, name: str) -> None:
    sound(tmp_path / "rain" / "deep" / "a.wav")
    sound(tmp_path / "sea" / "b.wav", seed=1)
    (tmp_path / "rain" / name).write_text("All rights reserved.\n", encoding="utf-8")
    assert used(tmp_path, OWN).keys() == {"sea/b.wav"}
    (tmp_path / "rain" / name).write_text("CC BY 4.0\n", encoding="utf-8")
    assert used(tmp_path, OWN)["rain/deep/a.wav"].licence == "CC-BY-4.0"


def test_the_summary_says_where_captions_are_from(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b", "rain", "0001")):
        sound(tmp_path / f"{name}.wav", seed=number)
    (tmp_path / "metadata.csv").write_text("file,caption\na.wav,waves\n")
    (tmp_path / "b.txt").write_text("wind")
    said = summarise(scan_folder(tmp_path, held_out=0))
    for origin in ("a table", "a file beside it", "the name of its folder", "nowhere"):
        assert f"     1  from {origin}" in said
