"""The REAPER project of a pack, read back by an independent parser: what is where, and its name."""

import csv
from pathlib import Path
from typing import Any, Literal

import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiogen.audio.io.files import write_audio
from audiogen.audio.io.riff import plain_text
from audiogen.pack.export.documents import rpp_text
from audiogen.pack.export.exporting import ExportRequest, export_pack

rpp = pytest.importorskip("rpp", reason="needs the package rpp")

RATE = 22_050
TURNS = 4
PROMPTS = {
    "rain on a tin roof": 93.0,
    'she said "rain"': 120.0,
    "it's rain": 120.0,
    "a `b` c": 120.0,
    '"it\'s" rain': 120.0,
    '"it\'s" a `b`': 120.0,
    "\" ' `": 87.5,
    "`": 120.0,
    "'": 120.0,
    '"': 120.0,
    "two\nlines\r\nand\x0b\x0c\x1c\x85more": 120.0,
    "line\u2028and\u2029paragraph": 120.0,
    ">": 120.0,
    "a\n  >\n  <TRACK\n    NAME evil": 120.0,
    "<ITEM": 120.0,
    "| pipe": 120.0,
    "مطر على سقف": 120.0,
    "雨 🌧 e\u0301": 120.0,
    "rain\u202egpj.exe": 120.0,
    "tab\tand  two spaces": 120.0,
    "": 120.0,
    " \n ": 120.0,
    "x" * 500: 120.0,
}


def expected_name(prompt: str) -> str:
    """What the project calls a prompt: of one line, short, and within the format's three marks."""
    plain = plain_text(prompt[:80]).replace("\u2028", " ").replace("\u2029", " ")
    return plain.replace("`", "'") if set("\"'`") <= set(plain) else plain


def find(element: Any, name: str) -> list[str]:
    """The values of the one line of an element that begins with a name."""
    [values] = [child[1:] for child in element if isinstance(child, list) and child[0] == name]
    return list(values)


def below(element: Any, tag: str) -> list[Any]:
    return [child for child in element if isinstance(child, rpp.Element) and child.tag == tag]


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Loops of hostile prompts, one without a tempo, and a sound that is none."""
    folder = tmp_path_factory.mktemp("work") / "pack"
    generator = torch.Generator().manual_seed(0)
    for number, (prompt, bpm) in enumerate([*PROMPTS.items(), ("no tempo", 0.0), ("bed", -1.0)]):
        count = round((60 / bpm if bpm > 0 else 0.4) * RATE)
        wav = 0.1 * torch.randn(1, count, generator=generator)
        told: dict[str, Any] = {"prompt": prompt, "seed": number, "seconds": count / RATE}
        told["loop"] = bpm >= 0
        if bpm > 0:
            told["tempo"] = {"bpm": bpm, "bars": 1, "beats_per_bar": 1}
        write_audio(folder / f"{number:02d}.wav", wav, RATE, sidecar=told)
    return folder


@pytest.mark.parametrize("audio_format", ["wav24", "flac"])
def test_another_reader_finds_each_loop_on_its_track(
    pack: Path, tmp_path: Path, audio_format: Literal["wav24", "flac"]
) -> None:
    out = export_pack(pack, ExportRequest(to=tmp_path / "out", audio_format=audio_format))
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "Loops"]
    project = rpp.loads((out / "loops.rpp").read_text(encoding="utf-8"))
    assert project.tag == "REAPER_PROJECT"
    assert [float(value) for value in find(project, "TEMPO")] == [120, 1, 4]
    assert find(project, "SAMPLERATE")[0] == "48000"
    tracks = below(project, "TRACK")
    assert len(tracks) == len(rows) == len(PROMPTS) + 1
    used = []
    for track, row, (prompt, bpm) in zip(
        tracks, rows, [*PROMPTS.items(), ("no tempo", 120.0)], strict=True
    ):
        [item] = below(track, "ITEM")
        [source] = below(item, "SOURCE")
        stem = Path(row["file"]).stem
        assert find(track, "NAME") == [expected_name(prompt) or stem]
        assert find(item, "NAME") == [stem]
        assert source.attrib == ["WAVE" if audio_format == "wav24" else "FLAC"]
        [name] = find(source, "FILE")
        assert name == row["file"]
        info = soundfile.info(out / name)
        speed, keeps_pitch, _ = (float(value) for value in find(item, "PLAYRATE")[:3])
        assert (speed, keeps_pitch) == (pytest.approx(120 / bpm, rel=1e-11), 1)
        assert float(find(item, "POSITION")[0]) == 0
        assert find(item, "LOOP") == ["1"]
        length = float(find(item, "LENGTH")[0])
        # A turn is a beat long here: four turns are four beats of the project, on the sample.
        assert length * speed * info.samplerate == pytest.approx(TURNS * info.frames, abs=1e-3)
        if prompt != "no tempo":
            assert length == pytest.approx(TURNS * 60 / 120, abs=TURNS * 0.5 / info.samplerate)
        used.append(name)
    assert len(set(used)) == len(used)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_read_back_as_it_was_written(text: str) -> None:
    read = rpp.loads(f"<A\n  NAME {rpp_text(text)}\n  AFTER 1\n>\n")
    assert find(read, "NAME") == [
        plain.replace("`", "'") if set("\"'`") <= set(plain) else plain
        for plain in [plain_text(text).replace("\u2028", " ").replace("\u2029", " ")]
    ]
    assert find(read, "AFTER") == ["1"]
