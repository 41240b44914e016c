import re
from pathlib import Path, PurePosixPath

import pytest

from audiogen.data.intake.naming import clean_name, describe, source_of
from audiogen.data.intake.spdx import spdx
from audiogen.data.metadata import Metadata, metadata_csv, parse_metadata, read_metadata


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("002 - Rain", "rain"),
        ("003 - Sea_Waves", "sea waves"),
        ("1. Chuva", "chuva"),
        ("808", "808"),
        ("rain on a tin roof", "rain on a tin roof"),
        ("", ""),
    ],
)
def test_clean_name(name: str, words: str) -> None:
    assert clean_name(name) == words


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("002 - Rain/1-17367-A.ogg", "17367"),
        ("002 - Rain/1-17367-B-10.wav", "17367"),
        ("rain/storm_a.wav", "storm"),
        ("rain/storm B.wav", "storm"),
        ("rain/storm take b.wav", "storm"),
        ("rain/storm-03.wav", "rain/storm-03"),
        ("rain/storm (2).wav", "rain/storm (2)"),
        ("rain/storm_take2.wav", "rain/storm_take2"),
        ("rain/rain01.wav", "rain/rain01"),
        ("rain/ZOOM_0042.wav", "rain/ZOOM_0042"),
        ("rain/sea.wav", "sea"),
        ("rain/01.wav", "rain/01"),
        ("rain/take 1.wav", "rain/take 1"),
    ],
)
def test_source_of(path: str, source: str) -> None:
    assert source_of(PurePosixPath(path)) == source


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("CC0", "CC0-1.0"),
        ("Creative Commons 0", "CC0-1.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("https://creativecommons.org/licenses/by/3.0/", "CC-BY-3.0"),
        ("http://creativecommons.org/licenses/by-nc/3.0/", "CC-BY-NC-3.0"),
        ("CC BY-NC-SA 4.0", "CC-BY-NC-SA-4.0"),
        ("cc-by-4.0", "CC-BY-4.0"),
        ("CC-BY-NC-ND-4.0", "CC-BY-NC-ND-4.0"),
        ("Creative Commons Attribution-NonCommercial 4.0 International", "CC-BY-NC-4.0"),
        ("Attribution-ShareAlike 3.0 Unported", "CC-BY-SA-3.0"),
        ("http://creativecommons.org/licenses/sampling+/1.0/", "LicenseRef-CC-Sampling-Plus-1.0"),
        ("https://creativecommons.org/licenses/by/3.0/us/", None),  # a licence of its own
        ("CC BY", None),  # which version?
        ("ask  me", "ask me"),
        ("CC0 1.0 Universal (CC0 1.0) Public Domain Dedication", "CC0-1.0"),
        ("Attribution 4.0 International (CC BY 4.0)", "CC-BY-4.0"),
        ("https://creativecommons.org/licenses/by/4.0/deed.en", "CC-BY-4.0"),
        ("cc-by-3.0-de", "CC-BY-3.0-DE"),
        ("CC BY 4.0, not for sale", None),
        ("CC BY 3.0 NonCommercial", None),
        ("not CC0", None),
        ("CC0 or CC BY-NC 4.0", None),
        ("CC0?", None),
        ("C\u04210", None),  # a Cyrillic letter
        ("apache-2.0", "Apache-2.0"),
        ("", ""),
    ],
)
def test_spdx(text: str, identifier: str | None) -> None:
    assert spdx(text) == (text if identifier is None else identifier)


def test_what_is_said_comes_before_what_names_tell() -> None:
    path = PurePosixPath("002 - Rain/roof_a.wav")
    told = Metadata(file="a", prompt="rain on tin", label="wet", role="loop", licence="cc0")
    full = describe(path, told)
    assert (full.prompt, full.label, full.role, full.licence) == (
        "rain on tin",
        "wet",
        "loop",
        "CC0-1.0",
    )
    assert describe(path, Metadata(file="a", prompt="rain on tin")).label == "rain"
    assert describe(path, Metadata(file="a", label="wet")).prompt == "wet"
    assert describe(path, Metadata(file="a")).prompt == "rain"
    flat = describe(PurePosixPath("03_tin-roof 2.wav"), Metadata(file="a"))
    assert (flat.prompt, flat.label) == ("tin roof", "")
    for name in ("0001.wav", "5-12345-A-10.wav", "IMG_2034.wav", "new recording (2).wav"):
        assert describe(PurePosixPath(name), Metadata(file="a")).prompt == "", name
    assert describe(PurePosixPath("storm-2.wav"), Metadata(file="a")).prompt == "storm"


@pytest.mark.parametrize(
    "header", ["file", "path", "file_name", "filename", " File ", "\ufefffile"]
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_columns_by_their_common_names(header: str, delimiter: str, tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    rows = [
        [header, "Text", "category", "url", "license", "fold"],
        ["a.wav", '"rain, on tin; loud"', "Rain", "https://example.org", "CC0", "1"],
        ["", "", "", "", "", ""],
        ["b.wav", "", "", "", "", ""],
    ]
    path.write_text("\r\n".join(delimiter.join(row) for row in rows), encoding="utf-8")
    assert read_metadata(path) == [
        Metadata(
            file="a.wav",
            prompt="rain, on tin; loud",
            label="Rain",
            source="https://example.org",
            licence="CC0",
            fold="1",
        ),
        Metadata(file="b.wav"),
    ]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rows = [
        Metadata(file="a, b.wav", prompt='a "small" dog', split="held_out", fold="2"),
        Metadata(file="c.wav", role="loop"),
    ]
    path = tmp_path / "metadata.csv"
    path.write_text(metadata_csv(rows), encoding="utf-8")
    assert read_metadata(path) == rows
    assert path.read_text(encoding="utf-8").splitlines()[0] == "file,caption,role,split,fold"


def test_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "metadata.jsonl"
    other = '"x": [1], "y": "\\ud800"'
    path.write_text('{"file_name": "a.wav", "source_id": 17, "text": null, ' + other + "}\n\n")
    assert read_metadata(path) == [Metadata(file="a.wav", source_id="17")]


@pytest.mark.parametrize(
    ("record", "prompt", "wordings"),
    [
        ({"caption": "rain", "caption2": "a shower"}, "rain", ("a shower",)),
        ({"Caption_1": "one", "caption_10": "ten", "caption_2": "two"}, "one", ("two", "ten")),
        ({"captions": ["one", "two", "one", "", None, " "]}, "one", ("two",)),
        ({"caption": "zero", "captions": "one"}, "zero", ("one",)),
        ({"caption": "", "text_1": " a \n b "}, "a b", ()),
        ({"caption": "rain", "caption2": ""}, "rain", ()),
        ({"caption": "rain", "caption_2": 808}, "rain", ("808",)),
    ],
)
def test_a_sound_may_have_captions_in_several_wordings(
    record: dict[str, object], prompt: str, wordings: tuple[str, ...]
) -> None:
    told = parse_metadata({"file": "a.wav", **record}, "here")
    assert (told.prompt, told.wordings) == (prompt, wordings)
    again = parse_metadata(told.to_record(), "there")
    assert again == told


def test_wordings_are_written_to_columns_of_their_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        Metadata(file="a.wav", prompt="rain", wordings=("a shower", "wet")),
        Metadata(file="b.wav", prompt="wind", label="air"),
    ]
    path = tmp_path / "metadata.csv"
    path.write_text(metadata_csv(rows), encoding="utf-8")
    assert path.read_text().splitlines()[0] == "file,label,caption,caption_2,caption_3"
    assert read_metadata(path) == rows
    assert not caplog.text  # no column is called unknown


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("metadata.csv", b"name,caption\na.wav,rain\n", 2),
        ("metadata.csv", b"file,caption\na.wav,rain, heavy\n", 2),
        ("metadata.csv", b"file,caption\n,rain\n", 2),
        ("metadata.csv", b"file,role\na.wav,whole\nb.wav,lop\n", 3),
        ("metadata.csv", b"file,split\na.wav,validation\nb.wav,vali\n", 3),
        ("metadata.csv", b'file,caption\na.wav,"rain\n', 2),
        ("metadata.jsonl", b'{"file": "a.wav"}\n{"file": \n', 2),
        ("metadata.jsonl", b"[1]\n", 1),
        ("metadata.jsonl", b'{"file": ["a.wav"]}\n', 1),
        ("metadata.jsonl", b'{"file": "\\ud800.wav"}\n', 1),
        ("metadata.jsonl", b"\xff\xfe", None),
    ],
)
def test_a_broken_table_is_named_by_file_and_line(
    name: str, content: bytes, line: int | None, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    place = f"{path}:{line}:" if line else str(path)
    with pytest.raises(ValueError, match=re.escape(place)) as caught:
        read_metadata(path)
    assert len(str(caught.value).splitlines()) <= 4
