import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiogen.data.intake.scan import INTAKE_REASONS, scan_folder, summarise
from audiogen.data.intake.walk import walk
from audiogen.data.manifest import ManifestRow, read_manifest, write_manifest

RATE = 16000


def sound(path: Path, *, seed: int = 0, seconds: float = 0.1, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).standard_normal((round(seconds * RATE), channels)) * 0.1
    soundfile.write(path, noise, RATE)


def by_path(rows: list[ManifestRow]) -> dict[str, ManifestRow]:
    return {row.path: row for row in rows}


def test_a_folder_of_folders(tmp_path: Path) -> None:
    for number, name in enumerate(["a.wav", "b.flac", "c.ogg", "d.mp3", "E.AIFF", "deep/f.wav"]):
        sound(tmp_path / "002 - Rain" / name, seed=number, channels=1 + number % 2)
    (tmp_path / "002 - Rain" / "a.txt").write_text("rain on a\ntin roof\n")
    (tmp_path / "002 - Rain" / "cover.jpg").write_bytes(b"x")
    rows = by_path(scan_folder(tmp_path))
    assert len(rows) == 6
    assert {row.verdict for row in rows.values()} == {"used"}
    first = rows["002 - Rain/a.wav"]
    assert (first.prompt, first.label, first.source_id) == ("rain on a tin roof", "rain", "a")
    assert (first.sample_rate, first.channels, first.seconds) == (RATE, 1, 0.1)
    assert re.fullmatch("[0-9a-f]{64}", first.sha256)
    assert rows["002 - Rain/b.flac"].channels == 2
    assert rows["002 - Rain/deep/f.wav"].label == "deep"


def test_metadata_reach_their_files(tmp_path: Path) -> None:
    names = ["Rain/a.wav", "Rain/b.wav", "Rain/caf\u00e9.wav", "Rain/d.wav"]
    for number, name in enumerate(names):
        sound(tmp_path / name, seed=number)
    sound(tmp_path / "Fire" / "x.wav", seed=9)
    (tmp_path / "Fire" / "metadata.jsonl").write_text('{"file": "x.wav", "prompt": "embers"}\n')
    (tmp_path / "metadata.csv").write_text(
        "file,caption,label,author,source,license,source_id,role\n"
        "Rain/a.wav,light rain,drizzle,Ana,https://example.org/1,CC BY 4.0,17,slice\n"
        f"{tmp_path.resolve()}/Rain/b.wav,heavy rain,,,,,,\n"
        "Rain\\cafe\u0301.wav,rain at a caf\u00e9,,,,,,\n"
        "Rain/gone.wav,nothing,,,,,,\n"
        "../outside.wav,nothing,,,,,,\n"
        "Rain/a.wav,said twice,,,,,,\n",
        encoding="utf-8",
    )
    everything = scan_folder(tmp_path)
    rows = by_path([row for row in everything if row.verdict == "used"])
    a = rows["Rain/a.wav"]
    assert (a.prompt, a.label, a.author) == ("light rain", "drizzle", "Ana")
    assert (a.source, a.licence) == ("https://example.org/1", "CC-BY-4.0")
    assert (a.source_id, a.role) == ("17", "slice")
    assert (rows["Rain/b.wav"].prompt, rows["Rain/b.wav"].label) == ("heavy rain", "rain")
    assert rows["Rain/caf\u00e9.wav"].prompt == "rain at a caf\u00e9"
    assert rows["Rain/d.wav"].prompt == "rain"
    assert (rows["Fire/x.wav"].prompt, rows["Fire/x.wav"].label) == ("embers", "fire")
    assert {row.path: row.reason for row in everything if row.verdict == "refused"} == {
        "Rain/gone.wav": "missing",
        "../outside.wav": "outside",
        "Rain/a.wav": "repeated_row",
    }


def write_silence(path: Path) -> None:
    soundfile.write(path, np.zeros(RATE), RATE)


def write_constant(path: Path) -> None:
    soundfile.write(path, np.full(RATE, 0.3), RATE)


def write_nan(path: Path) -> None:
    soundfile.write(path, np.full(RATE, np.nan), RATE, subtype="FLOAT")


def write_many_channels(path: Path) -> None:
    soundfile.write(path, np.ones((100, 60)), RATE)


def write_low_rate(path: Path) -> None:
    soundfile.write(path, np.ones(100), 2000)


def write_short(path: Path) -> None:
    soundfile.write(path, np.array([0.1, -0.1]), RATE)


def write_truncated(path: Path) -> None:
    sound(path)
    path.write_bytes(path.read_bytes()[:1000])


def write_captioned(path: Path) -> None:
    sound(path)
    path.with_suffix(".txt").write_bytes(b"\xff\xfe\x00")


def write_text(path: Path) -> None:
    path.write_text("<html>404</html>")


def write_dangling(path: Path) -> None:
    path.symlink_to("nowhere.wav")


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.wav": (Path.touch, "empty"),
    "silence.wav": (write_silence, "silent"),
    "constant.wav": (write_constant, "silent"),
    "nan.wav": (write_nan, "not_finite"),
    "channels.wav": (write_many_channels, "bad_channels"),
    "rate.wav": (write_low_rate, "bad_rate"),
    "short.wav": (write_short, "too_short"),
    "truncated.wav": (write_truncated, "truncated"),
    "caption.wav": (write_captioned, "bad_caption"),
    "page.mp3": (write_text, "not_audio"),
    "dangling.wav": (write_dangling, "missing"),
    "directory.wav": (Path.mkdir, "not_a_file"),
    "phone.m4a": (Path.touch, "unsupported"),
    "pipe.wav": (os.mkfifo, "not_a_file"),
    "new\nline.wav": (Path.touch, "empty"),
}


def test_every_bad_file_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    for number in range(4):
        sound(tmp_path / "Rain" / f"good{number}.wav", seed=number)
    for name, (make, _) in BAD.items():
        make(tmp_path / "Rain" / name)
    shutil.copy(tmp_path / "Rain" / "good0.wav", os.fsencode(tmp_path / "Rain") + b"/b\xff.wav")
    for hidden in ("._good0.wav", ".DS_Store", ".Trash/x.wav"):
        (tmp_path / hidden).parent.mkdir(exist_ok=True)
        (tmp_path / hidden).write_bytes(b"resource fork")
    (tmp_path / "Rain" / "again").symlink_to(tmp_path / "Rain")  # a loop of folders

    rows = scan_folder(tmp_path)

    refused = {row.path: row.reason for row in rows if row.verdict == "refused"}
    expected = {f"Rain/{name}": reason for name, (_, reason) in BAD.items()}
    assert refused == expected | {"Rain/b?.wav": "bad_name"}
    assert sum(row.verdict == "used" for row in rows) == 4
    assert set(refused.values()) <= INTAKE_REASONS.keys()
    write_manifest(tmp_path / "manifest.jsonl", rows)
    assert read_manifest(tmp_path / "manifest.jsonl") == rows
    text = summarise(rows)
    assert re.search(r"used +4 ", text)
    assert re.search(rf"refused +{len(refused)}\n", text)
    for path in refused:
        assert f"\n  {path.replace(chr(10), '?')}" in text


def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    sound(tmp_path / "good.wav")
    sound(tmp_path / "locked.wav", seed=1)
    (tmp_path / "locked.wav").chmod(0)
    assert by_path(scan_folder(tmp_path))["locked.wav"].reason == "unreadable"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "does not exist"),
        (Path.touch, "is not a folder"),
        (Path.mkdir, "no usable sound"),
        (lambda folder: (folder.mkdir(), (folder / "song.pdf").touch()), r"1 \.pdf"),
        (lambda folder: (folder.mkdir(), (folder / "a.wav").touch()), r"1 empty; first a\.wav"),
    ],
)
def test_a_folder_without_sounds_says_what_was_looked_for(
    make: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "sounds"
    make(folder)
    with pytest.raises(ValueError, match=message) as caught:
        scan_folder(folder)
    assert str(folder) in str(caught.value)
    assert ".flac" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 4


@pytest.mark.parametrize("held_out", [-0.1, 1.0, float("nan")])
def test_the_share_is_checked(held_out: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="held_out"):
        scan_folder(tmp_path, held_out=held_out)


def test_copies_stay_on_one_side(tmp_path: Path) -> None:
    for number in range(8):
        for folder in ("Rain", "Storm"):
            sound(tmp_path / folder / f"{folder}-{'abcdefgh'[number] * 3}.wav", seed=number)
    rows = scan_folder(tmp_path, held_out=0.25)
    assert len(rows) == 16
    assert {row.split for row in rows} == {"train", "held_out"}
    split = {row.sha256: set[str]() for row in rows}
    for row in rows:
        split[row.sha256].add(row.split)
    assert len(split) == 8
    assert all(len(sides) == 1 for sides in split.values())


def test_a_label_with_one_source_is_said_to_have_nothing_held_out(tmp_path: Path) -> None:
    for number in range(3):
        sound(tmp_path / "Rain" / f"rain_{'abc'[number]}.wav", seed=number)
    rows = scan_folder(tmp_path)
    assert {row.split for row in rows} == {"train"}
    assert "nothing held out for rain" in summarise(rows)


def test_real_recordings(esc10: Path) -> None:
    rows = scan_folder(esc10)
    assert len(rows) == 320
    assert {row.verdict for row in rows} == {"used"}
    assert {row.role for row in rows} == {"whole"}
    sources = {
        side: {r.source_id for r in rows if r.split == side} for side in ("train", "held_out")
    }
    assert not sources["train"] & sources["held_out"]
    merged = [row for row in rows if row.source_id != Path(row.path).stem.split("-")[1]]
    # FireBurning.wav and FireBurning_v2.wav of one author: the set has them as two recordings.
    assert {Path(row.path).stem: row.source_id for row in merged} == {
        "2-30322-A": "28314",
        "2-30322-B": "28314",
    }
    assert {Path(row.path).stem for row in rows if row.copy_of} == {"2-30322-A"}
    labels = {side: {r.label for r in rows if r.split == side} for side in ("train", "held_out")}
    assert len(labels["train"]) == 10
    assert labels["train"] == labels["held_out"]
    assert sum(row.split == "held_out" for row in rows) == pytest.approx(64, abs=6)
    assert all(row.prompt and row.author and row.source and row.licence for row in rows)
    text = summarise(rows)
    assert re.search(r"CC0-1\.0 +188", text)
    assert re.search(r"rain +32 ", text)


@pytest.mark.parametrize("mark", ["prepared.json", "job.jsonl", "generator.safetensors"])
def test_runs_packs_and_models_among_the_sounds_are_left_out(tmp_path: Path, mark: str) -> None:
    sound(tmp_path / "rain" / "a.wav")
    sound(tmp_path / "made" / "takes" / "b.wav", seed=1)
    (tmp_path / "made" / mark).touch()
    rows = by_path(scan_folder(tmp_path))
    assert rows.keys() == {"rain/a.wav", "made"}
    assert (rows["made"].verdict, rows["made"].reason) == ("refused", "own_output")
    assert scan_folder(tmp_path / "made")[0].path == "takes/b.wav"  # asked for by name


OWN = {
    "take": {"prompt": "rain", "seed": 3, "model_digest": "0123456789abcdef"},
    "layer": {"prompt": "", "layer": {"file": "a.wav", "by": "hpss"}, "samples_sha256": "ab" * 32},
}


@pytest.mark.parametrize("record", OWN.values(), ids=OWN)
@pytest.mark.parametrize("packed", [False, True])
def test_what_audiogen_wrote_beside_the_sounds_is_left_out(
    tmp_path: Path, record: dict[str, object], packed: bool
) -> None:
    """As a layer that was split off beside a sound, or a take that was exported to the folder."""
    for seed, name in enumerate(("a", "a-harmonic")):
        sound(tmp_path / "made" / f"{name}.wav", seed=seed)
    (tmp_path / "made" / "a-harmonic.json").write_text(json.dumps(record), encoding="utf-8")
    if packed:
        with tarfile.open(tmp_path / "made.tar", "w") as archive:
            archive.add(tmp_path / "made", ".")
        shutil.rmtree(tmp_path / "made")
    rows = {path.rpartition("/")[2]: row for path, row in by_path(scan_folder(tmp_path)).items()}
    assert {name: row.reason for name, row in rows.items()} == {
        "a.wav": "",
        "a-harmonic.wav": "own_output",
    }
    assert "nothing is learnt from it" in summarise(list(rows.values()))


def test_the_walk_follows_links_once_and_leaves_out_what_is_hidden(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for path in (root / "a.wav", root / "._a.wav", root / ".git" / "b.wav", elsewhere / "c.wav"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (root / "link").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(root)
    found = {str((here / one).relative_to(root)) for here, _, names in walk(root) for one in names}
    assert found == {"a.wav", "link/c.wav"}


@pytest.mark.parametrize(
    "pattern", ["rain_{:02d}.wav", "rain {}.wav", "rain ({}).wav", "rain{}.wav"]
)
def test_numbered_files_are_recordings_of_their_own(tmp_path: Path, pattern: str) -> None:
    for number in range(1, 11):
        sound(tmp_path / "rain" / pattern.format(number), seed=number)
    rows = scan_folder(tmp_path)
    assert len({row.source_id for row in rows}) == 10
    assert {row.split for row in rows} == {"train", "held_out"}


def test_numbered_copies_are_one_recording(tmp_path: Path) -> None:
    for number in range(1, 5):
        sound(tmp_path / "rain" / f"rain ({number}).wav", seed=0)
        sound(tmp_path / "rain" / f"sea ({number}).wav", seed=1)
    assert len({row.source_id for row in scan_folder(tmp_path)}) == 2
