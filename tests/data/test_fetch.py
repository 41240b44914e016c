import csv
import hashlib
import io
import json
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from file_server import FileServer, serving
from zip_parts import Entry, write_zip

from audiogen.cli import main as cli
from audiogen.data.fetching import download, published_sets
from audiogen.data.fetching.download import Download
from audiogen.data.fetching.fetch import fetch_set, summarise
from audiogen.data.fetching.published_sets import SETS, Bundle, PublishedSet
from audiogen.data.fetching.unpack import Archive
from audiogen.data.intake.licences import SAMPLING_PLUS, LicenceTerms
from audiogen.data.intake.scan import scan_folder
from audiogen.data.manifest import ManifestRow
from audiogen.data.metadata import Metadata

ESC50, ESC10, FSD50K = SETS["esc50"], SETS["esc10"], SETS["fsd50k"]
RATE = 16000
ESC_ROWS = (  # file, category, in ESC-10, licence
    ("1-100032-A-0.wav", "dog", True, "CC0"),
    ("1-110389-A-0.wav", "dog", True, "CC-BY"),
    ("5-9032-A-0.wav", "dog", True, "CC0"),
    ("1-39901-A-11.wav", "sea_waves", True, "CC-BY"),
    ("1-39901-B-11.wav", "sea_waves", True, "CC-BY"),
    ("4-161099-B-47.wav", "airplane", False, "CC-BY-NC"),
)
FSD_ROWS = (  # number, labels, part, licence
    (64760, "Electric_guitar,Guitar", "train", "licenses/sampling+/1.0/"),
    (16399, "Electric_guitar,Guitar", "train", "licenses/by/3.0/"),
    (345111, "Electric_guitar,Guitar", "val", "licenses/by-nc/3.0/"),
    (222, "Rain", "train", "publicdomain/zero/1.0/"),
    (99, "Rain", "eval", "licenses/by/3.0/"),
)


def sound(seed: int) -> bytes:
    noise = np.random.default_rng(seed).standard_normal(RATE // 10) * 0.1
    file = io.BytesIO()
    soundfile.write(file, noise, RATE, format="WAV")
    return file.getvalue()


def bundle(paths: list[Path], like: Bundle, server: FileServer) -> Bundle:
    """Return a bundle of archives that were written, and have the server hold them."""
    parts = []
    for path in paths:
        data = path.read_bytes()
        server.files[path.name] = data
        algorithm = like.parts[0].checksum.partition(":")[0]
        checksum = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
        url = f"https://example.org/{path.name}"
        parts.append(Download(name=path.name, url=url, size=len(data), checksum=checksum))
    return replace(like, parts=tuple(parts), unpacked_bytes=200_000)


def esc_files() -> dict[str, bytes]:
    lines = ["# ESC-50: Dataset for Environmental Sound Classification", "", "101 - Dog:"]
    table = ["filename,fold,target,category,esc10,src_file,take"]
    files = {}
    for seed, (name, category, esc10, licence) in enumerate(ESC_ROWS):
        fold, source, take, target = name.removesuffix(".wav").split("-")
        url = f"http://www.freesound.org/people/ana{seed}/sounds/{source}/"
        stem = f"{fold}-{source}-{take}"
        lines.append(
            f"- [{stem}.ogg]: clip derived from A_{seed}.wav ({url}) by ana{seed} [{licence}]"
        )
        table.append(f"{name},{fold},{target},{category},{esc10},{source},{take}")
        files[f"audio/{name}"] = sound(seed)
    return {
        "LICENSE": "\n".join(lines).encode(),
        "README.md": b"# ESC-50",
        "tests/test_dataset.py": b"raise SystemExit",
        **files,
        "meta/esc50.csv": "\n".join(table).encode(),
    }


def fsd_files() -> dict[str, dict[str, bytes]]:
    """Return what each archive of FSD50K holds, by its name without the suffix."""
    tables = {"dev": "fname,labels,mids,split\n", "eval": "fname,labels,mids\n"}
    infos: dict[str, dict[str, Any]] = {"dev": {}, "eval": {}}
    sounds: dict[str, dict[str, bytes]] = {"dev": {}, "eval": {}}
    for number, labels, part, licence in FSD_ROWS:
        side = "eval" if part == "eval" else "dev"
        tables[side] += f'{number},"{labels}","/m/1,/m/2"' + (
            f",{part}\n" if side == "dev" else "\n"
        )
        infos[side][str(number)] = {
            "title": f"take_{number}.wav",
            "description": "",
            "tags": [],
            "license": f"http://creativecommons.org/{licence}",
            "uploader": f"user{number}",
        }
        sounds[side][f"FSD50K.{side}_audio/{number}.wav"] = sound(number)
    return {
        "FSD50K.ground_truth": {
            f"FSD50K.ground_truth/{side}.csv": text.encode() for side, text in tables.items()
        },
        "FSD50K.metadata": {
            f"FSD50K.metadata/{side}_clips_info_FSD50K.json": json.dumps(told).encode()
            for side, told in infos.items()
        },
        "FSD50K.doc": {"FSD50K.doc/LICENSE-DATASET": b"CC BY 4.0", "FSD50K.doc/other": b"x"},
        "FSD50K.eval_audio": sounds["eval"],
        "FSD50K.dev_audio": sounds["dev"],
    }


@dataclass
class Sets:
    """Small sets with the layout of the published ones, and the server that holds them."""

    folder: Path
    server: FileServer

    def esc(
        self, like: PublishedSet = ESC50, changed: Mapping[str, bytes | None] | None = None
    ) -> PublishedSet:
        """Pack ESC-50 anew, with other contents for some of its files; None leaves one out."""
        files = {**esc_files(), **(changed or {})}
        path = self.folder / like.bundles[0].parts[0].name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.comment = b"33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6"
            for name, data in files.items():
                if data is not None:
                    archive.writestr(f"{like.bundles[0].inside}{name}", data)
        count = sum(in_esc10 or like is ESC50 for _, _, in_esc10, _ in ESC_ROWS)
        bundles = (bundle([path], like.bundles[0], self.server),)
        return replace(like, bundles=bundles, num_clips=count)

    def fsd(self) -> PublishedSet:
        bundles = []
        for like in FSD50K.bundles:
            name = like.parts[-1].name
            contents = fsd_files()[name.removesuffix(".zip")]
            entries = [Entry(name=path, content=data) for path, data in contents.items()]
            part_bytes = 3000 if "audio" in name else 0
            parts = write_zip(self.folder / name, entries, part_bytes=part_bytes)
            assert (len(parts) > 1) == bool(part_bytes)
            bundles.append(bundle(parts, like, self.server))
        return replace(FSD50K, bundles=tuple(bundles), num_clips=len(FSD_ROWS))


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sets]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0))
    (tmp_path / "server").mkdir()
    with serving() as server:
        yield Sets(tmp_path / "server", server)


def fetched(sets: Sets, wanted: PublishedSet, folder: Path, **settings: Any) -> list[Metadata]:
    return fetch_set(wanted, folder, mirror=sets.server.address, **settings)


def taken_in(folder: Path) -> Mapping[str, ManifestRow]:
    """Return what intake finds in a folder, by path."""
    return {row.path: row for row in scan_folder(folder)}


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_esc50_is_ready_for_intake(sets: Sets, tmp_path: Path) -> None:
    fetched(sets, sets.esc(), tmp_path / "esc50")
    rows = taken_in(tmp_path / "esc50")
    found = {row.path: (row.verdict, row.licence, row.label) for row in rows.values()}
    assert found == {
        "audio/1-100032-A-0.wav": ("used", "CC0-1.0", "dog"),
        "audio/1-110389-A-0.wav": ("used", "CC-BY-3.0", "dog"),
        "audio/5-9032-A-0.wav": ("used", "CC0-1.0", "dog"),
        "audio/1-39901-A-11.wav": ("used", "CC-BY-3.0", "sea waves"),
        "audio/1-39901-B-11.wav": ("used", "CC-BY-3.0", "sea waves"),
        "audio/4-161099-B-47.wav": ("used", "CC-BY-NC-3.0", "airplane"),
    }
    dog = rows["audio/1-100032-A-0.wav"]
    assert (dog.author, dog.source_id, dog.prompt) == ("ana0", "100032", "dog: A 0")
    assert dog.source == "http://www.freesound.org/people/ana0/sounds/100032/"
    assert visible(tmp_path / "esc50") == ["LICENSE", "README.md", "audio", "meta", "metadata.csv"]
    assert [path.name for path in (tmp_path / "esc50" / ".fetch").iterdir()] == ["state.json"]


def test_esc10_is_the_part_of_esc50(sets: Sets, tmp_path: Path) -> None:
    clips = fetched(sets, sets.esc(ESC10), tmp_path / "esc10")
    assert sorted(clip.file for clip in clips) == sorted(
        f"audio/{name}" for name, _, in_10, _ in ESC_ROWS if in_10
    )
    assert len(list((tmp_path / "esc10" / "audio").iterdir())) == 5


def test_fsd50k_is_ready_for_intake(sets: Sets, tmp_path: Path) -> None:
    fetched(sets, sets.fsd(), tmp_path / "fsd50k")
    rows = taken_in(tmp_path / "fsd50k")
    found = {row.path: (row.split, row.licence, row.author) for row in rows.values()}
    assert found == {
        "FSD50K.dev_audio/64760.wav": ("train", SAMPLING_PLUS, "user64760"),
        "FSD50K.dev_audio/16399.wav": ("train", "CC-BY-3.0", "user16399"),
        "FSD50K.dev_audio/345111.wav": ("held_out", "CC-BY-NC-3.0", "user345111"),
        "FSD50K.dev_audio/222.wav": ("train", "CC0-1.0", "user222"),
        "FSD50K.eval_audio/99.wav": ("held_out", "CC-BY-3.0", "user99"),
    }
    guitar = rows["FSD50K.dev_audio/64760.wav"]
    assert guitar.prompt == "electric guitar: take 64760"
    assert (guitar.source, guitar.source_id) == ("https://freesound.org/s/64760/", "64760")
    doc = tmp_path / "fsd50k" / "FSD50K.doc"
    assert [path.name for path in doc.iterdir()] == ["LICENSE-DATASET"]


def test_the_licence_policy_decides_and_nothing_is_dropped(sets: Sets, tmp_path: Path) -> None:
    fetched(sets, sets.fsd(), tmp_path / "fsd50k")
    rows = scan_folder(tmp_path / "fsd50k", terms=LicenceTerms(licence_policy="commercial"))
    refused = {row.path: row.reason for row in rows if row.verdict == "refused"}
    assert refused == {
        "FSD50K.dev_audio/64760.wav": "licence_not_allowed",
        "FSD50K.dev_audio/345111.wav": "licence_not_allowed",
    }
    assert len(rows) == len(FSD_ROWS)


@pytest.mark.parametrize("keep_archives", [False, True])
def test_a_second_call_asks_for_nothing(sets: Sets, tmp_path: Path, keep_archives: bool) -> None:
    wanted = sets.fsd()
    first = fetched(sets, wanted, tmp_path / "set", keep_archives=keep_archives)
    sets.server.asked.clear()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*")}
    assert fetched(sets, wanted, tmp_path / "set", keep_archives=keep_archives) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*")} == before
    assert not sets.server.asked
    names = {path.name for path in (tmp_path / "set" / ".fetch").iterdir()}
    assert names == {"state.json", *(sets.server.files if keep_archives else ())}


def test_only_the_archive_of_a_lost_file_is_fetched_again(sets: Sets, tmp_path: Path) -> None:
    wanted = sets.fsd()
    first = fetched(sets, wanted, tmp_path / "set")
    sets.server.asked.clear()
    (tmp_path / "set" / "FSD50K.eval_audio" / "99.wav").write_bytes(b"cut off")
    assert fetched(sets, wanted, tmp_path / "set") == first
    assert {name for name, _ in sets.server.asked} == {p.name for p in wanted.bundles[3].parts}


def test_a_lost_file_comes_out_of_a_kept_archive(sets: Sets, tmp_path: Path) -> None:
    wanted = sets.esc()
    first = fetched(sets, wanted, tmp_path / "set", keep_archives=True)
    sets.server.asked.clear()
    (tmp_path / "set" / "audio" / ESC_ROWS[0][0]).unlink()
    assert fetched(sets, wanted, tmp_path / "set", keep_archives=True) == first
    assert not sets.server.asked


def test_archives_may_be_put_there_by_hand(sets: Sets, tmp_path: Path) -> None:
    wanted = sets.esc()
    (tmp_path / "set" / ".fetch").mkdir(parents=True)
    name = wanted.bundles[0].parts[0].name
    shutil.copy(sets.folder / name, tmp_path / "set" / ".fetch" / name)
    assert len(fetched(sets, wanted, tmp_path / "set")) == len(ESC_ROWS)
    assert not sets.server.asked


def test_a_fetch_goes_on_from_what_is_there(sets: Sets, tmp_path: Path) -> None:
    wanted, folder = sets.fsd(), tmp_path / "set"
    last = wanted.bundles[4].parts[-1]
    broken = sets.server.files.pop(last.name)
    with pytest.raises(OSError, match="404"):
        fetched(sets, wanted, folder)
    assert not (folder / "metadata.csv").exists()
    assert (folder / "FSD50K.eval_audio" / "99.wav").exists()
    sets.server.files[last.name] = broken
    sets.server.asked.clear()
    assert len(fetched(sets, wanted, folder)) == len(FSD_ROWS)
    assert sets.server.asked == [(last.name, "bytes=0-")]


def test_a_fetch_that_died_while_unpacking_goes_on(
    sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, folder = sets.esc(), tmp_path / "set"
    extract, count = Archive.extract, 0

    def dying(archive: Archive, path: str, target: Path) -> None:
        nonlocal count
        count += 1
        if count == 6:
            raise KeyboardInterrupt
        extract(archive, path, target)

    monkeypatch.setattr(Archive, "extract", dying)
    with pytest.raises(KeyboardInterrupt):
        fetched(sets, wanted, folder)
    sets.server.asked.clear()
    assert len(fetched(sets, wanted, folder)) == len(ESC_ROWS)
    assert not sets.server.asked


def test_a_new_release_replaces_the_old_one(sets: Sets, tmp_path: Path) -> None:
    fetched(sets, sets.esc(), tmp_path / "set")
    licence = esc_files()["LICENSE"].replace(b"[CC0]", b"[CC-BY]")
    clips = fetched(sets, sets.esc(changed={"LICENSE": licence}), tmp_path / "set")
    assert {clip.licence for clip in clips} == {"CC-BY-3.0", "CC-BY-NC-3.0"}


def test_a_table_that_someone_has_changed_stays(
    sets: Sets, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted, table = sets.esc(), tmp_path / "set" / "metadata.csv"
    fetched(sets, wanted, table.parent)
    ours = table.read_text()
    table.write_text(ours.replace("dog: A 0", "a small dog"))
    fetched(sets, wanted, table.parent)
    rows = taken_in(table.parent)
    assert rows["audio/1-100032-A-0.wav"].prompt == "a small dog"
    assert "has been changed and is left as it is" in caplog.text
    table.unlink()
    fetched(sets, wanted, table.parent)
    assert table.read_text() == ours


def test_folders_with_other_things_are_left_alone(sets: Sets, tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    folder.mkdir()
    (folder / ".DS_Store").write_bytes(b"")
    assert len(fetched(sets, sets.esc(), folder)) == len(ESC_ROWS)
    with pytest.raises(ValueError, match=r"holds esc50, .*; give fsd50k its own folder"):
        fetched(sets, sets.fsd(), folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "song.wav").write_bytes(sound(0))
    sets.server.asked.clear()
    with pytest.raises(ValueError, match=r"other things \(song\.wav\)"):
        fetched(sets, sets.esc(), tmp_path / "mine")
    with pytest.raises(NotADirectoryError, match=r"song\.wav"):
        fetched(sets, sets.esc(), tmp_path / "mine" / "song.wav")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["song.wav"]
    assert not sets.server.asked


def test_a_folder_that_leads_out_is_not_followed(sets: Sets, tmp_path: Path) -> None:
    wanted, folder = sets.esc(), tmp_path / "set"
    fetched(sets, wanted, folder)
    shutil.rmtree(folder / "audio")
    (tmp_path / "elsewhere").mkdir()
    (folder / "audio").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is a link that leaves"):
        fetched(sets, wanted, folder)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_damaged_state_is_named(sets: Sets, tmp_path: Path) -> None:
    fetched(sets, sets.esc(), tmp_path / "set")
    for text in ("", "[]", '{"name": 3}', '{"name": "esc50", "unpacked": {"a": []}}'):
        (tmp_path / "set" / ".fetch" / "state.json").write_text(text)
        with pytest.raises(ValueError, match=r"state\.json is damaged"):
            fetched(sets, sets.esc(), tmp_path / "set")


def test_sets_that_lack_something(sets: Sets, tmp_path: Path) -> None:
    missing = f"audio/{ESC_ROWS[0][0]}"
    with pytest.raises(ValueError, match=r"lack 1 files, first audio/1-100032-A-0\.wav"):
        fetched(sets, sets.esc(changed={missing: None}), tmp_path / "a")
    with pytest.raises(ValueError, match="lack 1 files, first LICENSE"):
        fetched(sets, sets.esc(changed={"LICENSE": None}), tmp_path / "b")
    table = esc_files()["meta/esc50.csv"].rpartition(b"\n")[0]
    with pytest.raises(ValueError, match="name 5 clips in 5 rows; 6 are published"):
        fetched(sets, sets.esc(changed={"meta/esc50.csv": table}), tmp_path / "c")
    assert not list(tmp_path.glob("*/metadata.csv"))


def test_an_archive_that_holds_too_much_is_not_unpacked(sets: Sets, tmp_path: Path) -> None:
    wanted = sets.esc(changed={f"audio/{ESC_ROWS[0][0]}": bytes(300_000)})
    with pytest.raises(ValueError, match=r"would unpack to .* at most 200\.0 kB are expected"):
        fetched(sets, wanted, tmp_path / "set")
    assert not (tmp_path / "set" / "audio").exists()


def test_a_hostile_archive_leaves_nothing_outside(sets: Sets, tmp_path: Path) -> None:
    entries = [Entry(name=name, content=data) for name, data in esc_files().items()]
    wanted = sets.esc()
    path = sets.folder / wanted.bundles[0].parts[0].name
    write_zip(path, [*entries, Entry(name="../../outside.wav", content=b"x")])
    hostile = replace(wanted, bundles=(bundle([path], wanted.bundles[0], sets.server),))
    with pytest.raises(ValueError, match="a path that must not be unpacked"):
        fetched(sets, hostile, tmp_path / "set")
    assert visible(tmp_path / "set") == []
    assert not list(tmp_path.rglob("outside.wav"))


def test_no_space_is_said_before_anything_is_asked_for(
    sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = sets.fsd()
    sizes = [sum(part.size for part in one.parts) for one in wanted.bundles]
    needed = sizes[4] + 5 * 200_000  # the last archive beside all that is unpacked
    usage = shutil.disk_usage(tmp_path)

    def free(size: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size))

    free(needed - 1000)
    with pytest.raises(OSError, match=r"FSD50K needs 1\.0 MB on this disk") as raised:
        fetched(sets, wanted, tmp_path / "set")
    assert len(str(raised.value).splitlines()) <= 4
    assert not sets.server.asked
    free(needed)
    with pytest.raises(OSError, match="needs"):
        fetched(sets, wanted, tmp_path / "set", keep_archives=True)
    assert len(fetched(sets, wanted, tmp_path / "set")) == len(FSD_ROWS)
    free(0)
    fetched(sets, wanted, tmp_path / "set")  # nothing is to come


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setenv(cli.DEBUG_VARIABLE, "")
    monkeypatch.setattr(sys, "argv", ["audiogen", "data", "fetch", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


def test_the_command(
    sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(published_sets, "SETS", {"esc50": sets.esc()})
    place, mirror = str(tmp_path / "set"), ("--mirror", sets.server.address)
    assert run(monkeypatch, "esc50", place, *mirror) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{place}: 6 sounds of ESC-50, described in metadata.csv"
    assert "  CC-BY-3.0          3" in lines
    assert lines[-1] == f"next: audiogen data check {place}"
    with (tmp_path / "set" / "metadata.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 6
    assert run(monkeypatch, "esc99", place) == 2
    assert "'esc99' is none of esc50" in capsys.readouterr().err
    (tmp_path / "mine").write_text("")
    assert run(monkeypatch, "esc50", str(tmp_path / "mine"), *mirror) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_clips_without_an_author_are_counted(
    sets: Sets, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    licence = esc_files()["LICENSE"].rpartition(b"\n")[0]
    clips = fetched(sets, sets.esc(changed={"LICENSE": licence}), tmp_path / "set")
    assert (clips[-1].author, clips[-1].licence) == ("", "CC-BY-NC-3.0")
    assert "1 clips have no author in the tables of ESC-50" in caplog.text


def test_a_summary_names_the_terms_of_the_set(sets: Sets, tmp_path: Path) -> None:
    wanted = sets.esc()
    clips = fetch_set(wanted, tmp_path / "set", mirror=sets.server.address)
    text = summarise(
        wanted, tmp_path / "set", [clips[0].model_copy(update={"licence": ""}), *clips[1:]]
    )
    assert "(not given)" in text
    assert "ESC-50 as a whole is published under CC BY-NC 3.0" in text
