"""Packs for a DAW: what is in them is at its level, in its folder, under its name, and whole."""

import csv
import html.parser
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from chunk_reader import read_chunks
from sampled import sampled
from stem_reader import parse_stem
from torch import Tensor
from typer.testing import CliRunner

from audiogen.audio.dsp import loudness_lufs
from audiogen.audio.io.files import read_audio, write_audio
from audiogen.audio.loops import measure_seam
from audiogen.audio.measure.measures import true_peak_db
from audiogen.cli.texture import texture
from audiogen.data.manifest import ManifestRow
from audiogen.pack.curation.choices import Choice, Selection, write_selection
from audiogen.pack.export.documents import csv_cell, rpp_text
from audiogen.pack.export.exporting import ExportRequest, export_pack
from audiogen.pack.make import Worker, make_pack
from audiogen.provenance.attribution import attribution_csv
from audiogen.take_request import Tempo

RATE = 22_050
HOSTILE = (
    "../../../etc/passwd",
    "..\\..\\evil",
    "/root/x",
    "con",
    "NUL.wav",
    "a\0b\x1b[31m",
    "x" * 10_000,
    "rain\u202egpj.exe",
    "مطر على سقف",
    "雨",
    "<script>alert(1)</script>",
    '"><img src=x onerror=y>',
    "=cmd|'/c calc'!A0",
    "@SUM(A1)",
    "+1",
    "",
    "rain",
    "rain",
    "RAIN",
    "\" ' `",
    "a\nb\n>",
    "$x$",
)

LOOP = '{"prompt": "", "seed": 1, "seconds": 1, "loop": true'


def ring(seconds: float, seed: int = 0) -> Tensor:
    """A loop of noise without a seam, darker towards the top."""
    count = round(seconds * RATE)
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.fft.rfft(torch.randn(2, count, generator=generator))
    wav = torch.fft.irfft(spectrum / (1 + torch.linspace(0, 20, spectrum.shape[1])), n=count)
    return 0.5 * wav / wav.abs().max() + 0.1


def shot() -> Tensor:
    time = torch.arange(RATE) / RATE
    return (0.4 * torch.sin(2 * math.pi * 440 * time) * torch.exp(-12 * time))[None]


def bed(seconds: float = 2.0) -> Tensor:
    return 0.01 * torch.randn(1, round(seconds * RATE)) + 0.05


def told(prompt: str, **more: Any) -> dict[str, Any]:
    licences = {"CC0-1.0": 4, "CC-BY-4.0": 2}
    about = {"model": "small", "model_digest": "abc", "licences": licences}
    return {"prompt": prompt, "seed": 3, "seconds": 1.0, **about, **more}


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of two loops, a one-shot, a texture, and a take that was rejected."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("work") / "My Pack"
    for name, bpm in (("first", 93.0), ("second", 120.0)):
        wav = ring(4 * 60 / bpm)
        tempo = {"bpm": bpm, "bars": 1, "beats_per_bar": 4}
        note = told("tin rain", loop=True, tempo=tempo)
        write_audio(folder / f"{name}.wav", wav, RATE, sidecar=note)
    write_audio(folder / "shot.wav", shot(), RATE, sidecar=told("pluck"))
    write_audio(folder / "bed.wav", bed(), RATE, sidecar=told("wind 24"))
    write_audio(folder / "no.wav", bed(), RATE, sidecar=told("no"))
    kept = {
        stem: {"status": "keep", "star": stem == "bed", "note": "=1+1"}
        for stem in ("first", "second", "shot", "bed")
    }
    choices = {"takes": {**kept, "no": {"status": "reject", "star": False, "note": ""}}}
    (folder / "selection.json").write_text(json.dumps(choices))
    return folder


@pytest.fixture(scope="module")
def exported(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_pack(pack, ExportRequest(to=tmp_path_factory.mktemp("to") / "out"))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_take_lies_in_its_folder_under_its_name(exported: Path, pack: Path) -> None:
    found = [row["file"] for row in rows(exported)]
    assert sorted(re.sub(r"_[A-G]#?(maj|min)\b", "", name) for name in found) == [
        "Loops/tin_rain_93.wav",
        "Loops/tin_rain_b_120.wav",
        "OneShots/pluck.wav",
        "Textures/wind.wav",
    ]
    assert sorted(str(path.relative_to(exported)) for path in exported.rglob("*.wav")) == sorted(
        found
    )
    for name in found:
        parse_stem(Path(name).stem, "splice")
        info = soundfile.info(exported / name)
        assert (info.samplerate, info.subtype) == (48_000, "PCM_24")
        note = json.loads((exported / name).with_suffix(".json").read_text())
        assert note["export"]["note"] == "=1+1"
        assert note["export"]["file"] in {path.name for path in pack.iterdir()}


def test_levels_are_those_asked_for(exported: Path) -> None:
    for row in rows(exported):
        wav, rate = read_audio(exported / row["file"])
        is_loop = row["kind"] == "Loops"
        peak = true_peak_db(wav, rate, ring=is_loop)
        assert peak <= -1.0
        if row["kind"] == "OneShots":
            assert peak == pytest.approx(-1.0, abs=0.05)
        else:
            assert loudness_lufs(wav, rate) == pytest.approx(-23.0, abs=0.05)
        assert float(wav.mean(dim=1).abs().max()) < 1e-3  # -60 dBFS
        assert float(row["loudness_lufs"]) == pytest.approx(loudness_lufs(wav, rate), abs=0.01)


def test_loops_have_the_length_of_their_bars_and_keep_their_seam(exported: Path) -> None:
    for bpm, name in ((93, "tin_rain_93"), (120, "tin_rain_b_120")):
        path = next((exported / "Loops").glob(f"{name}*.wav"))
        wav, rate = read_audio(path)
        assert wav.shape[1] == round(4 * 60 / bpm * rate)
        assert measure_seam(wav, rate).passes
        # The ends are not faded: near the join it is as loud as elsewhere.
        near = torch.cat([wav[:, -240:], wav[:, :240]], dim=1).square().mean()
        assert float(near / wav.square().mean()) > 0.2
        chunks = read_chunks(path)
        assert chunks.sampler is not None
        assert chunks.acid is not None
        assert chunks.sampler.loops == ((0, wav.shape[1]),)
        assert (chunks.acid.bpm, chunks.acid.beats, chunks.acid.one_shot) == (bpm, 4, False)
        assert [cue.label for cue in chunks.cues] == ["bar 1"]


def test_edges_of_one_shots_are_faded_and_the_chunks_tell_of_them(exported: Path) -> None:
    path = next((exported / "OneShots").glob("*.wav"))
    wav, rate = read_audio(path)
    assert float(wav[:, 0].abs().max()) < 1e-4
    assert float(wav[:, -1].abs().max()) < 1e-4
    chunks = read_chunks(path)
    assert chunks.acid is not None
    assert chunks.acid.one_shot
    assert chunks.sampler is not None
    assert chunks.sampler.loops == ()
    assert chunks.broadcast is not None
    assert chunks.broadcast.true_peak_db == pytest.approx(true_peak_db(wav, rate), abs=0.011)
    assert chunks.info["INAM"] == chunks.ixml["NOTE"] == "pluck"
    assert chunks.info["ICOP"] == "Training sounds: CC-BY-4.0, CC0-1.0"
    assert chunks.ixml["USER/SEED"] == "3"
    assert chunks.ixml["PROJECT"] == "My Pack"


def test_texts_beside_the_sounds(exported: Path) -> None:
    found = rows(exported)
    assert {row["note"] for row in found} == {"'=1+1"}
    assert [row["star"] for row in found if row["kind"] == "Textures"] == ["True"]
    assert "CC-BY-4.0: 2 recordings" in (exported / "LICENSE.txt").read_text()
    assert (exported / "contact.png").read_bytes().startswith(b"\x89PNG")
    project = (exported / "loops.rpp").read_text()
    assert project.count("<TRACK") == 2
    assert project.count("<") == len(re.findall(r"^ *>$", project, re.MULTILINE))
    for name in re.findall(r'FILE "(.*)"', project):
        assert (exported / name).is_file()
    assert not (exported / "ATTRIBUTION.csv").exists()


def test_a_folder_that_is_there_is_refused_and_the_pack_stays(exported: Path, pack: Path) -> None:
    before = {path: path.read_bytes() for path in (*pack.iterdir(), *exported.rglob("*.wav"))}
    with pytest.raises(ValueError, match="nothing was changed"):
        ExportRequest(to=exported)
    with pytest.raises(ValueError, match="nothing was changed"):
        ExportRequest(to=pack)
    assert all(path.read_bytes() == data for path, data in before.items())


@pytest.mark.parametrize(("audio_format", "rate"), [("wav16", 44_100), ("flac", 48_000)])
def test_formats_and_rates_and_the_same_bits_twice(
    audio_format: Any, rate: int, pack: Path, tmp_path: Path
) -> None:
    request = ExportRequest(to=tmp_path / "a", audio_format=audio_format, rate=rate, naming="ucs")
    first = export_pack(pack, request)
    second = export_pack(pack, replace(request, to=tmp_path / "b"))
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    for name in set(names) - {Path("contact.html")}:  # Ogg streams have random serial numbers
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    sounds = [name for name in names if name.suffix in {".wav", ".flac"}]
    assert len(sounds) == 4
    for name in sounds:
        info = soundfile.info(first / name)
        assert (info.samplerate, info.subtype) == (
            rate,
            "PCM_16" if audio_format == "wav16" else "PCM_24",
        )
        assert parse_stem(name.stem, "ucs").source == "MyPack"
        wav, _ = read_audio(first / name)
        assert true_peak_db(wav, rate, ring=name.parts[0] == "Loops") <= -1.0


def test_dither_is_triangular_and_leaves_no_trace_of_a_faint_tone() -> None:
    from audiogen.pack.export.sound import dithered  # noqa: PLC0415

    time = torch.arange(200_000) / 48_000
    faint = (0.4 / 32768 * torch.sin(2 * math.pi * 1000 * time))[None]  # rounds to nothing
    bits = dithered(faint, "a")
    assert torch.equal(bits, dithered(faint, "a"))
    assert not torch.equal(bits, dithered(faint, "b"))
    steps = bits * 32768
    assert torch.equal(steps, steps.round())
    error = (steps - faint * 32768).double()
    assert float(error.var()) == pytest.approx(1 / 4, rel=0.02)  # 2/12 of dither, 1/12 of rounding
    assert abs(float((error * faint / faint.abs().max()).mean())) < 0.01  # the tone survives


class Reader(html.parser.HTMLParser):
    """Collects the tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.sources += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_hostile_prompts_stay_in_the_folder_and_out_of_the_page(tmp_path: Path) -> None:
    work = tmp_path / "work" / "pack"
    for number, prompt in enumerate(HOSTILE):
        write_audio(work / f"{number:02d}.wav", bed(0.2), RATE, sidecar=told(prompt, extra=prompt))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    out = export_pack(work, ExportRequest(to=tmp_path / "work" / "out"))
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert all(path.is_relative_to(out) for path in new)
    assert len(list(out.rglob("*.wav"))) == len(HOSTILE)
    reader = Reader()
    reader.feed((out / "contact.html").read_text(encoding="utf-8"))
    assert "script" not in reader.tags
    assert not {name for name in reader.attributes if name.startswith("on")}
    assert all(source.startswith("data:") for source in reader.sources)
    for row in rows(out):
        assert not row["prompt"].startswith(("=", "+", "-", "@"))
    long = next(path for path in out.rglob("*.json") if len(path.read_text()) > 10_000)
    assert json.loads(long.read_text())["export"]["cut_in_wav"]["INAM"] == "x" * 10_000


def test_cells_and_quotes() -> None:
    assert [csv_cell(one) for one in ("=1", "-2", "\t=1", " @x", -2.0, "ok")] == [
        "'=1",
        "'-2",
        "'=1",
        "'@x",
        -2.0,
        "ok",
    ]
    assert [rpp_text(one) for one in ("a b", 'a"b', "a\"'b", "a\"'`b", "a\n>")] == [
        '"a b"',
        "'a\"b'",
        "`a\"'b`",
        "`a\"''b`",
        '"a >"',
    ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("selection.json", "{", "not valid JSON"),
        ("selection.json", "[]", "expected"),
        ("selection.json", '{"takes": {"a": {"status": "maybe"}}}', "'keep'"),
        ("selection.json", '{"takes": {"a": {"status": "reject"}}}', "no take is kept"),
        ("selection.json", '{"takes": {"b": {"status": "keep"}}}', "not there"),
        ("a.json", f'{LOOP}, "tempo": {{"bpm": 0, "bars": 1}}}}', "tempo.bpm"),
        ("a.json", f'{LOOP}, "tempo": {{"bpm": 60, "bars": 9}}}}', "does not last"),
        ("a.json", '{"prompt": "rain"}', "not the JSON file of a take"),
        ("a.wav", "noise", "a.wav"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_left(
    name: str, text: str, said: str, tmp_path: Path
) -> None:
    work = tmp_path / "pack"
    write_audio(work / "a.wav", bed(1.0), RATE)
    (work / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        export_pack(work, ExportRequest(to=tmp_path / "out"))
    assert len(str(error.value).splitlines()) <= 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pack"]


@pytest.mark.usefixtures("fake_text")
def test_takes_of_a_model_and_its_attribution(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = make_model()
    tempo = Tempo(bpm=133.7, bars=1, beats_per_bar=3)
    sampled(model, tmp_path / "pack", loop=True, tempo=tempo)
    with pytest.raises(ValueError, match="leave --model out"):
        export_pack(tmp_path / "pack", ExportRequest(to=tmp_path / "out", model=model))
    attribution = model / "generator" / "model" / "ATTRIBUTION.csv"
    attribution.write_text("path,author\na.wav,=Ann\n")
    with pytest.raises(ValueError, match="not a table of attributions"):
        export_pack(tmp_path / "pack", ExportRequest(to=tmp_path / "out", model=model))
    row = ManifestRow(
        path="a.wav",
        seconds=1,
        sample_rate=8000,
        channels=1,
        split="train",
        sha256="0" * 64,
        author="=Ann",
    )
    attribution.write_text(attribution_csv([row]))
    out = export_pack(tmp_path / "pack", ExportRequest(to=tmp_path / "out", model=model))
    assert '"\'=Ann"' in (out / "ATTRIBUTION.csv").read_text()
    sound = next((out / "Loops").glob("rain_134*.wav"))
    assert soundfile.info(sound).frames == round(3 * 60 / 133.7 * 48_000)


@pytest.mark.usefixtures("fake_text")
def test_from_a_list_of_prompts_to_the_kept_takes_of_a_pack(model: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.yaml"
    listed.write_text(
        "prompts:\n  - {prompt: rain, count: 2, seconds: 1}\n"
        "  - {prompt: bells, loop: true, bpm: 240, bars: 1}\n"
    )
    pack = tmp_path / "pack"
    done = make_pack(listed, {}, model=model, out=pack, worker=Worker())
    kept = [done.takes[0].file, done.takes[2].file]
    choices = {
        name: Choice(status="keep" if name in kept else "reject")
        for name in (take.file for take in done.takes)
    }
    write_selection(pack, Selection(takes=choices))
    out = export_pack(pack, ExportRequest(to=tmp_path / "out"))
    found = {row["take"]: row for row in rows(out)}
    assert sorted(found) == sorted(f"{name}.wav" for name in kept)
    assert int(found[f"{kept[1]}.wav"]["samples"]) == 48_000


def test_the_commands(pack: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    done = run(texture, ["export", str(pack), "--to", str(tmp_path / "out"), "--naming", "plain"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "Textures" / "wind-24-001.wav").is_file()
    done = run(texture, ["split", str(pack / "bed.wav"), "--by", "bands", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert [Path(line).name for line in done.output.split("\n")[:3]] == [
        "bed-low.wav",
        "bed-mid.wav",
        "bed-high.wav",
    ]
    layers = [soundfile.read(tmp_path / f"bed-{name}.wav")[0] for name in ("low", "mid", "high")]
    assert float(np.abs(sum(layers) - soundfile.read(pack / "bed.wav")[0]).max()) < 1e-4


def test_hidden_files_are_no_takes(tmp_path: Path) -> None:
    work = tmp_path / "pack"
    write_audio(work / "bed.wav", bed(), RATE, sidecar=told("wind"))
    for name in ("._bed.wav", ".bed.flac", "._bed.json"):
        (work / name).write_bytes(b"\0\5\x16\7")
    out = export_pack(work, ExportRequest(to=tmp_path / "out"))
    assert [row["take"] for row in rows(out)] == ["bed.wav"]


@pytest.mark.parametrize("change", ["other", "shorter", "louder"])
def test_a_foreign_sound_is_not_exported_with_the_prompt_of_a_take(
    change: str, tmp_path: Path
) -> None:
    work = tmp_path / "pack"
    write_audio(work / "rain.wav", bed(), RATE, sidecar=told("rain on tin"))
    own, _ = read_audio(work / "rain.wav")
    write_audio(
        work / "rain.wav",
        {"other": shot(), "shorter": own[:, :-9], "louder": 2 * own}[change],
        RATE,
    )
    with pytest.raises(ValueError, match="not the sound that its JSON file tells of") as error:
        export_pack(work, ExportRequest(to=tmp_path / "out"))
    assert len(str(error.value).splitlines()) <= 4
    assert not (tmp_path / "out").exists()
    (work / "rain.json").rename(tmp_path / "aside.json")
    out = export_pack(work, ExportRequest(to=tmp_path / "out"))
    assert [row["prompt"] for row in rows(out)] == [""]


def comments_of(path: Path) -> dict[str, str]:
    """The Vorbis comments of a FLAC file, read by the letter of the format (RFC 9639, 8.6)."""
    data, at, found = path.read_bytes(), 4, dict[str, str]()
    assert data[:4] == b"fLaC"
    while True:
        head, size = data[at], int.from_bytes(data[at + 1 : at + 4], "big")
        block = data[at + 4 : at + 4 + size]
        if head & 0x7F == 4:
            vendor = int.from_bytes(block[:4], "little")
            place = 4 + vendor
            count, place = int.from_bytes(block[place : place + 4], "little"), place + 4
            for _ in range(count):
                length = int.from_bytes(block[place : place + 4], "little")
                name, _, text = block[place + 4 : place + 4 + length].decode().partition("=")
                found[name.upper()] = text
                place += 4 + length
        if head & 0x80:
            return found
        at += 4 + size


@pytest.mark.parametrize("prompt", ["wind", "雨, على", "x" * 10_000, "a\0b\nc"])
def test_flac_files_tell_what_they_are_in_vorbis_comments(prompt: str, tmp_path: Path) -> None:
    write_audio(tmp_path / "pack" / "bed.wav", bed(), RATE, sidecar=told(prompt))
    request = ExportRequest(to=tmp_path / "out", audio_format="flac")
    [path] = export_pack(tmp_path / "pack", request).rglob("*.flac")
    found = comments_of(path)
    assert found["TITLE"] == prompt.replace("\0", " ").replace("\n", " ")[:1000]
    assert found["ARTIST"] == "small"
    assert found["COMMENT"] == "seed 3, model small abc"
    assert found["LICENSE"] == "Training sounds: CC-BY-4.0, CC0-1.0"
    assert found["ALBUM"] == "pack"


@pytest.mark.parametrize("lead", [0.0, 0.1, 0.4])
def test_one_shots_begin_with_their_sound(lead: float, tmp_path: Path) -> None:
    wav = torch.cat([torch.zeros(1, round(lead * RATE)), shot()], dim=1) + 0.05
    write_audio(tmp_path / "pack" / "shot.wav", wav, RATE, sidecar=told("pluck"))
    [path] = (export_pack(tmp_path / "pack", ExportRequest(to=tmp_path / "out"))).rglob("*.wav")
    assert path.parent.name == "OneShots"
    made, rate = read_audio(path)
    assert float(made[:, 0].abs().max()) < 1e-4
    assert float(made[:, : round(0.003 * rate)].abs().max()) > 0.3 * float(made.abs().max())


@pytest.mark.parametrize("channels", [1, 2])
def test_textures_have_no_hard_edge_and_nothing_to_be_stretched_by(
    channels: int, tmp_path: Path
) -> None:
    wav = bed().repeat(channels, 1)
    write_audio(tmp_path / "pack" / "bed.wav", wav, RATE, sidecar=told("wind"))
    write_audio(tmp_path / "pack" / "ring.wav", ring(2), RATE, sidecar=told("sea", loop=True))
    out = export_pack(tmp_path / "pack", ExportRequest(to=tmp_path / "out"))
    [texture_path], [loop] = (list((out / kind).glob("*.wav")) for kind in ("Textures", "Loops"))
    made, rate = read_audio(texture_path)
    edge = round(0.001 * rate)
    for part in (made[:, :edge], made[:, -edge:]):
        assert float(part.square().mean().sqrt()) < 0.2 * float(made.square().mean().sqrt())
    assert read_chunks(texture_path).acid is None
    assert read_chunks(loop).acid is None  # no tempo is known


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0])
def test_a_seam_that_is_heard_is_said(
    seconds: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wav = ring(seconds) * torch.linspace(0.1, 1, round(seconds * RATE))
    write_audio(tmp_path / "pack" / "a.wav", wav, RATE, sidecar=told("sea", loop=True))
    write_audio(tmp_path / "pack" / "b.wav", ring(seconds), RATE, sidecar=told("b", loop=True))
    export_pack(tmp_path / "pack", ExportRequest(to=tmp_path / "out", rate=44_100))
    [said] = [line for line in caplog.messages if "seam is heard at 44100 Hz" in line]
    assert said.startswith("a.wav: ")
