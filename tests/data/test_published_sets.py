import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from audiogen.data.fetching.published_sets import (
    SETS,
    caption,
    read_esc,
    read_fsd50k,
)
from audiogen.data.intake.licences import KINDS, SAMPLING_PLUS
from audiogen.data.metadata import metadata_csv

# Lines as the LICENSE file of ESC-50 has them, with its ways to write what is out of the ordinary.
ESC_LINES = r"""
## Licensing/attribution details for individual clips:

101 - Dog:
- [1-100032-A.ogg]: clip derived from rose_bark.wav (http://www.freesound.org/people/nfrae/sounds/100032/) by nfrae [CC0]
- [5-9032-A.ogg]:  clip derived from Dog bark2.wav (http://www.freesound.org/people/MisterTood/sounds/9032/) by MisterTood [CC0]
- [1-40730-A.ogg]: clip derived from rooster2.wav (http://www.freesound.org/people/pionium/sounds/40730/) by pionium [CC-Sampling+]
- [2-166644-A.ogg]: clip derived from Pigs in a farm (10 pigs inside a French farm) (http://www.freesound.org/people/felix.blume/sounds/166644/) by felix.blume [CC0]
- [3-253081-A.ogg]: clip derived from Sikala, siat sy\xf6v\xe4t ja r\xf6hkiv\xe4t / A piggery, pigs eating (http://www.freesound.org/people/YleArkisto/sounds/253081/) by YleArkisto [CC-BY]
- [3-155642-A.ogg]: clip derived from sea \u200b\u200bon the road, night, Rhodes (http://www.freesound.org/people/mario1298/sounds/155642/) by mario1298 [CC-BY]
- [2-155801-A.ogg]: clip derived from sea, rocky beach 1 (http://freesound.org/people/mario1298/sounds/155801/) by mario1298 [CC-BY]
- [1-57316-A.ogg]: clip derived from Grillons1.WAV (http://www.freesound.org/people/J%20-%20Luc/sounds/57316/) by J - Luc [CC-BY]
- [4-161099-B.ogg]: clip derived from F7F Tigercat - High Speed (http://www.freesound.org/people/Fight2FlyPhoto/sounds/161099/) by Fight2FlyPhoto [CC-BY-NC]
- [5-141683-Ad.ogg]: clip derived from washing.wav (http://www.freesound.org/people/someone/sounds/141683/) by someone [CC0]
"""  # noqa: E501
ESC_TABLE = """\
filename,fold,target,category,esc10,src_file,take
1-100032-A-0.wav,1,0,dog,True,100032,A
5-9032-A-0.wav,5,0,dog,True,9032,A
1-40730-A-1.wav,1,1,rooster,True,40730,A
2-166644-A-2.wav,2,2,pig,False,166644,A
3-253081-A-2.wav,3,2,pig,False,253081,A
3-155642-A-11.wav,3,11,sea_waves,True,155642,A
2-155801-A-11.wav,2,11,sea_waves,True,155801,A
1-57316-A-13.wav,1,13,crickets,False,57316,A
4-161099-B-47.wav,4,47,airplane,False,161099,B
5-141683-A-35.wav,5,35,washing_machine,False,141683,A
5-999-A-35.wav,5,35,washing_machine,False,999,A
"""
Esc = Callable[[str], Path]


@pytest.fixture
def esc(tmp_path: Path) -> Esc:
    def write(table: str) -> Path:
        (tmp_path / "meta").mkdir(exist_ok=True)
        (tmp_path / "meta" / "esc50.csv").write_text(table)
        (tmp_path / "LICENSE").write_text(ESC_LINES)
        return tmp_path

    return write


def test_licences_and_authors_of_esc_clips(esc: Esc) -> None:
    clips = read_esc(esc(ESC_TABLE), "CC-BY-NC-3.0", esc10_only=False)
    found = {clip.file: (clip.licence, clip.author) for clip in clips}
    assert found == {
        "audio/1-100032-A-0.wav": ("CC0-1.0", "nfrae"),
        "audio/5-9032-A-0.wav": ("CC0-1.0", "MisterTood"),
        "audio/1-40730-A-1.wav": (SAMPLING_PLUS, "pionium"),
        "audio/2-166644-A-2.wav": ("CC0-1.0", "felix.blume"),
        "audio/3-253081-A-2.wav": ("CC-BY-3.0", "YleArkisto"),
        "audio/3-155642-A-11.wav": ("CC-BY-3.0", "mario1298"),
        "audio/2-155801-A-11.wav": ("CC-BY-3.0", "mario1298"),
        "audio/1-57316-A-13.wav": ("CC-BY-3.0", "J - Luc"),
        "audio/4-161099-B-47.wav": ("CC-BY-NC-3.0", "Fight2FlyPhoto"),
        "audio/5-141683-A-35.wav": ("CC0-1.0", "someone"),
        "audio/5-999-A-35.wav": ("CC-BY-NC-3.0", ""),  # no line of its own: the set's licence
    }
    assert {licence for licence, _ in found.values()} <= set(KINDS)
    by_name = {clip.file[6:]: clip for clip in clips}
    pigs = by_name["2-166644-A-2.wav"]
    assert pigs.prompt == "pig: Pigs in a farm (10 pigs inside a French farm)"
    assert pigs.source == "http://www.freesound.org/people/felix.blume/sounds/166644/"
    assert (pigs.label, pigs.source_id, pigs.fold, pigs.split) == ("pig", "166644", "2", "")
    assert "siat sy\u00f6v\u00e4t ja" in by_name["3-253081-A-2.wav"].prompt
    rhodes = by_name["3-155642-A-11.wav"]
    assert rhodes.prompt == "sea waves: sea on the road, night, Rhodes"


def test_esc10_is_a_part_of_esc50(esc: Esc) -> None:
    clips = read_esc(esc(ESC_TABLE), "CC-BY-3.0", esc10_only=True)
    assert [clip.source_id for clip in clips] == ["100032", "9032", "40730", "155642", "155801"]


def test_captions_are_those_of_the_prepared_esc10(esc10: Path) -> None:
    with (esc10 / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 300
    for row in rows:
        ours = caption(row["label"], row["title"])
        repeats = row["caption"].casefold() == f"{row['label']}: {row['label']}".casefold()
        assert ours == (row["label"] if repeats else row["caption"])


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("guitarras_63.wav", "electric guitar: guitarras 63"),
        ("Electric_Guitar.AIFF", "electric guitar"),
        ("0001.wav", "electric guitar"),
        ("", "electric guitar"),
        (" two\nlines\t\u200b.mp3 ", "electric guitar: two lines"),
    ],
)
def test_captions(title: str, expected: str) -> None:
    assert caption("electric guitar", title) == expected


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("filename,fold\na,b\n", "there is no category, esc10, src_file"),
        (ESC_TABLE.replace("rooster", ""), r"esc50\.csv:4: there is no category"),
    ],
)
def test_other_tables_are_refused(esc: Esc, table: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_esc(esc(table), "CC-BY-NC-3.0", esc10_only=False)


def fsd50k(folder: Path, dev: str, infos: dict[str, object]) -> Path:
    for name in ("ground_truth", "metadata"):
        (folder / f"FSD50K.{name}").mkdir()
    truth = folder / "FSD50K.ground_truth"
    (truth / "dev.csv").write_text(f"fname,labels,mids,split\n{dev}")
    (truth / "eval.csv").write_text('fname,labels,mids\n99,"Crunch,Eating","/m/1,/m/2"\n')
    for part in ("dev", "eval"):
        path = folder / "FSD50K.metadata" / f"{part}_clips_info_FSD50K.json"
        path.write_text(json.dumps(infos))
    return folder


def info(licence: str, uploader: str = "Ana", title: str = "a title.wav") -> dict[str, object]:
    return {"title": title, "description": "", "tags": [], "license": licence, "uploader": uploader}


def test_fsd50k(tmp_path: Path) -> None:
    base = "http://creativecommons.org"
    infos: dict[str, object] = {
        "64760": info(f"{base}/licenses/sampling+/1.0/", "casualsamples", "guitarras_63.wav"),
        "1": info(f"{base}/licenses/by-nc/3.0/"),
        "2": info(f"{base}/publicdomain/zero/1.0/", "B\u00e9a \ud800x"),
        "99": info(f"{base}/licenses/by/3.0/", "plagasul"),
    }
    dev = (
        '64760,"Electric_guitar,Guitar,Music","/m/1,/m/2,/m/3",train\n'
        '1,"Hi-hat,Cymbal",/m/4,val\n'
        "2,Keyboard_(musical),/m/5,train\n"
        "3,Rain,/m/6,train\n"
    )
    clips = {clip.source_id: clip for clip in read_fsd50k(fsd50k(tmp_path, dev, infos))}
    told = {number: (c.label, c.licence, c.author, c.split) for number, c in clips.items()}
    assert told == {
        "64760": ("electric guitar", SAMPLING_PLUS, "casualsamples", "train"),
        "1": ("hi hat", "CC-BY-NC-3.0", "Ana", "held_out"),
        "2": ("keyboard (musical)", "CC0-1.0", "B\u00e9a x", "train"),
        "3": ("rain", "", "", "train"),
        "99": ("crunch", "CC-BY-3.0", "plagasul", "held_out"),
    }
    assert clips["64760"].file == "FSD50K.dev_audio/64760.wav"
    assert clips["64760"].prompt == "electric guitar: guitarras 63"
    assert clips["99"].file == "FSD50K.eval_audio/99.wav"
    assert clips["99"].source == "https://freesound.org/s/99/"


def test_the_table_has_the_columns_that_are_used(esc: Esc) -> None:
    clips = read_esc(esc(ESC_TABLE), "CC-BY-3.0", esc10_only=True)
    rows = list(csv.reader(io.StringIO(metadata_csv(clips), newline="")))
    assert rows[0] == [
        "file",
        "label",
        "caption",
        "author",
        "source",
        "licence",
        "source_id",
        "fold",
    ]
    assert rows[1][:3] == ["audio/1-100032-A-0.wav", "dog", "dog: rose bark"]
    assert len(rows) == len(clips) + 1


def test_what_is_known_of_the_archives() -> None:
    assert list(SETS) == ["esc50", "esc10", "fsd50k"]
    for one in SETS.values():
        for bundle in one.bundles:
            for part in bundle.parts:
                assert part.url.startswith("https://")
                algorithm, _, digits = part.checksum.partition(":")
                assert len(digits) == {"md5": 32, "sha256": 64}[algorithm]
                assert int(digits, 16)
            suffixes = [part.name.rpartition(".")[2] for part in bundle.parts]
            assert suffixes == [*(f"z{n:02d}" for n in range(1, len(suffixes))), "zip"]
    parts = [part for bundle in SETS["fsd50k"].bundles for part in bundle.parts]
    audio = sum(part.size for part in parts if "audio" in part.name)
    assert audio == 24_671_691_926  # as Zenodo lists them
    assert len({part.checksum for part in parts}) == len(parts) == 11
