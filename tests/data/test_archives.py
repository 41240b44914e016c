"""Sounds in tar archives, here and elsewhere: the same rows and clips as from a folder."""

import http.server
import io
import json
import logging
import os
import pickle  # noqa: TID251 - what is to be left alone has to be made
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from audiogen.audio.io import member
from audiogen.audio.io.decoding import AudioReadError
from audiogen.audio.io.files import read_audio
from audiogen.audio.io.member import Member, read_range
from audiogen.cli.main import app
from audiogen.data.intake.archives import read_addresses
from audiogen.data.intake.licences import LicenceTerms
from audiogen.data.intake.scan import INTAKE_REASONS, scan_folder
from audiogen.data.intake.shards import pack_folder
from audiogen.data.loading.clips import ClipDataset, Position, read_clip
from audiogen.data.loading.loader import StepSampler, make_loader
from audiogen.data.manifest import ManifestRow, read_manifest, write_manifest
from audiogen.types import LatentSpec

RATE = 16000
SPEC = LatentSpec(
    kind="continuous",
    channels=4,
    vocab_size=None,
    hop_length=64,
    sample_rate=RATE,
    audio_channels=1,
)


def wav_bytes(seed: int = 0, seconds: float = 0.2) -> bytes:
    file = io.BytesIO()
    noise = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    soundfile.write(file, noise, RATE, format="WAV")
    return file.getvalue()


def tar(path: Path, files: dict[str, bytes], *others: tarfile.TarInfo, mode: Any = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for other in others:
            archive.addfile(other)
    return path


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder with captions, metadata and labels in its folders' names."""
    folder = tmp_path / "sounds"
    for number in range(6):
        path = folder / ("rain" if number % 2 else "fire") / f"{number}.take.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav_bytes(number, 0.2 + 0.05 * number))
    (folder / "fire" / "0.take.txt").write_text("embers, close")
    (folder / "metadata.csv").write_text(
        "file,caption,licence,author,source_id,split\n"
        "rain/1.take.wav,rain on tin,CC0-1.0,Ana,77,held_out\n"
        "fire/2.take.wav,,CC BY 4.0,Bo,,\n"
    )
    return folder


def plain(rows: list[ManifestRow]) -> list[ManifestRow]:
    """Rows without where their files are."""
    return [
        replace(row, path="x.wav", caption_from="", archive="", offset=0, num_bytes=0)
        for row in rows
    ]


def test_a_packed_folder_gives_the_same_rows_and_clips(sounds: Path, tmp_path: Path) -> None:
    packed = pack_folder(sounds, tmp_path / "packed", archive_bytes=20_000)
    archives = {path.name for path in (tmp_path / "packed").iterdir()}
    assert (len(packed.sounds), packed.refused) == (6, [])
    assert len(archives) > 1
    rows, inside = scan_folder(sounds), scan_folder(tmp_path / "packed")
    assert plain(inside) == plain(rows)
    assert archives == {f"shard-{number:05d}.tar" for number in range(len(archives))}
    assert {row.archive for row in inside} == archives
    write_manifest(tmp_path / "manifest.jsonl", inside)
    inside = read_manifest(tmp_path / "manifest.jsonl")
    for one, other in zip(rows, inside, strict=True):
        clips = [read_clip(sounds, one, SPEC), read_clip(tmp_path / "packed", other, SPEC)]
        assert torch.equal(*clips)
    sets = [
        ClipDataset(folder, some, SPEC, crop_frames=40, seed=3)
        for folder, some in ((sounds, rows), (tmp_path / "packed", inside))
    ]
    for index in range(len(sets[0])):
        position = Position(epoch=2, index=index)
        assert torch.equal(sets[0][position], sets[1][position])


def test_packing_is_repeatable_and_packs_archives_again(sounds: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        pack_folder(sounds, tmp_path / name, archive_bytes=1 << 30)
    again = pack_folder(tmp_path / "one", tmp_path / "three", archive_bytes=1)
    contents = [(tmp_path / name / "shard-00000.tar").read_bytes() for name in ("one", "two")]
    assert contents[0] == contents[1]
    assert len(list((tmp_path / "three").iterdir())) == len(again.sounds) == 6
    assert plain(scan_folder(tmp_path / "three")) == plain(scan_folder(tmp_path / "one"))


def test_the_command_packs_and_says_what_is_left_out(sounds: Path, tmp_path: Path) -> None:
    (sounds / "voice.m4a").write_bytes(b"x")
    (sounds / "rain" / "3.take.txt").write_bytes(b"\xff")
    target = tmp_path / "packed"
    done = CliRunner().invoke(app, ["data", "pack", str(sounds), str(target)])
    assert done.exit_code == 0
    assert "left out: voice.m4a: a format that is not read" in done.stdout
    assert "left out: rain/3.take.wav: the .txt" in done.stdout
    assert "5 sounds in 1 archives" in done.stdout
    again = CliRunner().invoke(app, ["data", "pack", str(sounds), str(target)])
    assert again.exit_code != 0
    assert sorted(path.name for path in target.iterdir()) == ["shard-00000.tar"]


def test_what_stands_beside_a_sound_in_an_archive(tmp_path: Path) -> None:
    record = {"text": "waves", "license": "CC0-1.0", "author": "Cy", "extra": [1], "label": "sea"}
    tar(
        tmp_path / "a.tar",
        {
            "deep/sea/1.wav": wav_bytes(1),
            "deep/sea/1.json": json.dumps(record, indent=1).encode(),
            "2.wav": wav_bytes(2),
            "2.txt": b"a gull\n",
            "3.flac": wav_bytes(3),
            "4.wav": wav_bytes(4),
            "4.json": b"[" * 9_000,
            "5.json": b"{}",
            ".hidden.wav": b"x",
        },
    )
    (tmp_path / "metadata.csv").write_text("file,caption\na.tar/2.wav,two gulls\n")
    rows = {row.path: row for row in scan_folder(tmp_path)}
    first = rows["a.tar/deep/sea/1.wav"]
    assert (first.prompt, first.label, first.licence) == ("waves", "sea", "CC0-1.0")
    assert (rows["a.tar/2.wav"].prompt, rows["a.tar/2.wav"].label) == ("two gulls", "")
    assert rows["a.tar/3.flac"].verdict == "used"
    assert rows["a.tar/4.wav"].reason == "bad_caption"
    assert len(rows) == 4


@pytest.mark.parametrize("front", ["", "./", "./deep/er/"])
@pytest.mark.parametrize("beside", ["a.b.txt", "a.b.TXT", "a.b.wav.txt", "a.b.json"])
def test_what_stands_beside_is_found_as_tar_names_it(
    tmp_path: Path, front: str, beside: str
) -> None:
    """`tar -c .` puts a dot in front of every name."""
    text = b'{"title": "heavy rain"}' if beside.endswith("json") else b"heavy rain"
    tar(tmp_path / "set.tar", {f"{front}a.b.wav": wav_bytes(), f"{front}{beside}": text})
    [row] = scan_folder(tmp_path)
    assert (row.prompt, row.caption_from) == ("heavy rain", "a file beside it")


@pytest.mark.parametrize("front", ["", "./", "set/"])
def test_a_licence_in_an_archive_is_that_of_its_sounds(tmp_path: Path, front: str) -> None:
    licence = {f"{front}LICENSE": b"All rights reserved.\n"}
    tar(tmp_path / "set.tar", {f"{front}deep/a.wav": wav_bytes(), **licence})
    tar(tmp_path / "free.tar", {"b.wav": wav_bytes(1), "LICENSE.txt": b"CC BY 4.0\n"})
    terms = LicenceTerms(i_own_these=True)
    rows = {row.path: row for row in scan_folder(tmp_path, terms=terms)}
    assert rows[f"set.tar/{front}deep/a.wav"].verdict == "refused"
    assert rows["free.tar/b.wav"].licence == "CC-BY-4.0"


def test_what_was_not_read_in_an_archive_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    files = ("metadata.csv", "other.txt", "a.wav.txt", "cover.jpg", "README.md", "b.m4a")
    tar(tmp_path / "set.tar", {"a.wav": wav_bytes(), **dict.fromkeys(files, b"heavy rain")})
    rows = {row.path: row.reason for row in scan_folder(tmp_path)}
    assert rows == {"set.tar/a.wav": "", "set.tar/b.m4a": "unsupported"}
    assert "captions: set.tar/metadata.csv, set.tar/other.txt\n" in f"{caplog.text}\n"
    assert "1 .jpg" in caplog.text


def test_hostile_archives_run_and_write_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    folder.mkdir()
    canary = tmp_path / "canary"

    class Canary:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (canary,))

    bomb = tarfile.TarInfo("bomb.wav")
    bomb.size = 1 << 50
    tar(
        folder / "a.tar",
        {
            "good.wav": wav_bytes(1),
            "good.pkl": pickle.dumps(Canary()),
            "good.pth": pickle.dumps(Canary()),
            "good.pyd": pickle.dumps(Canary()),
            "pickled.wav": pickle.dumps(Canary()),
            "../outside.wav": wav_bytes(2),
            "/absolute.wav": wav_bytes(3),
            "twice.wav": wav_bytes(4),
        },
        link("link.wav", "/etc/passwd"),
        link("folder", "/"),
    )
    with tarfile.open(folder / "a.tar", "a") as archive:
        info = tarfile.TarInfo("twice.wav")
        archive.addfile(info)
    whole = tar(tmp_path / "whole.tar", {"0.wav": wav_bytes(5), "1.wav": wav_bytes(6)})
    (folder / "cut.tar").write_bytes(whole.read_bytes()[:9_000])
    (folder / "text.tar").write_text("no archive" * 200)
    (folder / "empty.tar").write_bytes(b"")
    tar(folder / "squeezed.tar", {"0.wav": wav_bytes(7)}, mode="w:gz")
    (folder / "b.tar.gz").write_bytes(b"x")
    (folder / "c.zip").write_bytes(b"x")
    huge = tarfile.TarInfo("pax")
    huge.type, huge.size = tarfile.XHDTYPE, 1 << 40
    (folder / "huge.tar").write_bytes(huge.tobuf() + bytes(1024))
    rows = scan_folder(folder)
    found = {row.path: row.reason for row in rows if row.verdict == "refused"}
    assert [row.path for row in rows if row.verdict == "used"] == [
        "a.tar/good.wav",
        "a.tar/twice.wav",
    ]
    assert found.pop("cut.tar", None) or found.pop("cut.tar/1.wav")
    found.pop("cut.tar/0.wav", None)
    assert found == {
        "a.tar/../outside.wav": "outside",
        "a.tar//absolute.wav": "outside",
        "a.tar/link.wav": "not_a_file",
        "a.tar/pickled.wav": "not_audio",
        "a.tar/twice.wav": "repeated_name",
        "b.tar.gz": "bad_archive",
        "c.zip": "bad_archive",
        "empty.tar": "bad_archive",
        "huge.tar": "bad_archive",
        "squeezed.tar": "bad_archive",
        "text.tar": "bad_archive",
    }
    assert set(found.values()) <= INTAKE_REASONS.keys()
    assert not canary.exists()
    assert not (tmp_path / "outside.wav").exists()


def test_an_archive_that_changes_after_intake_is_named(sounds: Path, tmp_path: Path) -> None:
    pack_folder(sounds, tmp_path / "packed", archive_bytes=1 << 30)
    row = scan_folder(tmp_path / "packed")[-1]
    archive = tmp_path / "packed" / row.archive
    os.truncate(archive, row.offset + 10)
    with pytest.raises(AudioReadError, match="10 of"):
        read_clip(tmp_path / "packed", row, SPEC)
    archive.unlink()
    with pytest.raises(AudioReadError, match="no such file"):
        read_clip(tmp_path / "packed", row, SPEC)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"archive": "../a.tar", "path": "../a.tar/x.wav"}, "not a path inside"),
        ({"archive": "/a.tar"}, "not a path inside the data folder"),
        ({"archive": "b.tar"}, "not a path inside 'b.tar'"),
        ({"archive": "s3://set/b.tar"}, "not a path inside"),
        ({"offset": 0}, "needs offset"),
        ({"num_bytes": -1}, "needs offset"),
    ],
)
def test_rows_of_archives_are_checked(changes: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "path": "a.tar/x.wav",
        "archive": "a.tar",
        "offset": 512,
        "num_bytes": 9,
        "seconds": 1.0,
        "sample_rate": 8000,
        "channels": 1,
    }
    assert str(ManifestRow(**good).sound(Path("d"))) == str(Path("d/a.tar/x.wav"))
    with pytest.raises(ValueError, match=message):
        ManifestRow(**{**good, **changes})


# Elsewhere


def test_a_list_of_addresses(tmp_path: Path) -> None:
    path = tmp_path / "shards.txt"
    path.write_text("# mine\nfile:///set/a-{008..010}.tar  # three\n\nmemory://host/b.tar\n")
    names = ["file:///set/a-008.tar", "file:///set/a-009.tar", "file:///set/a-010.tar"]
    assert read_addresses(path) == [*names, "memory://host/b.tar"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.tar\n", "shards.txt:1: 'a.tar' is not the address"),
        ("# x\ns3://b/a.zip\n", "shards.txt:2: "),
        ("s3://b/a.tar\ns3://c/a.tar\n", "shards.txt:2: a.tar is the name of another"),
        ("s3://b/{0..99999999}.tar\n", "stands for 100,000,000 archives"),
        ("nosuch://b/a.tar\n", "cannot be read here .*nosuch.*\n.*docs/data.md"),
    ],
)
def test_a_bad_list_is_told_by_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "shards.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        scan_folder(tmp_path)


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Serves ranges of files, as object stores do, and counts what it sent."""

    sent = 0
    status = 0

    def do_HEAD(self) -> None:
        if self.status:
            self.send_error(self.status)
        else:
            super().do_HEAD()

    def do_GET(self) -> None:
        if self.status:
            self.send_error(self.status)
            return
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        first, last = 0, len(data) - 1
        wanted = self.headers.get("Range")
        if wanted:
            start, _, stop = wanted.removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(stop or last), last)
        self.send_response(206 if wanted else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        type(self).sent += last + 1 - first  # before a client that has it all looks
        self.wfile.write(data[first : last + 1])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    servers = []

    def start(folder: Path) -> str:
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(RangeHandler, directory=str(folder))
        )
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_archives_elsewhere_give_the_same_rows_and_clips(
    scheme: str, sounds: Path, tmp_path: Path, serve: Callable[[Path], str]
) -> None:
    if scheme == "http":
        pytest.importorskip("aiohttp", reason="audiogen[remote] is not installed")
    packed = tmp_path / "packed"
    pack_folder(sounds, packed, archive_bytes=20_000)
    count = len(list(packed.iterdir()))
    base = serve(packed) if scheme == "http" else f"file://{packed}"
    here = tmp_path / "here"
    here.mkdir()
    (here / "shards.txt").write_text(f"{base}/shard-{{00000..{count - 1:05d}}}.tar\n")
    near, far = scan_folder(packed), scan_folder(here)
    assert [row.path for row in far] == [row.path for row in near]
    assert plain(far) == plain(near)
    RangeHandler.sent = 0
    clips = [read_clip(folder, row, SPEC) for folder, row in ((packed, near[0]), (here, far[0]))]
    assert torch.equal(*clips)
    if scheme == "http":
        assert RangeHandler.sent == near[0].num_bytes  # and not the archive
    batches = [batches_of(folder, rows) for folder, rows in ((packed, near), (here, far))]
    assert torch.equal(*batches)
    shutil.rmtree(packed)
    with pytest.raises(AudioReadError, match="no such file"):
        read_clip(here, far[0], SPEC)


def test_archives_in_an_object_store(
    sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a server on this machine that speaks S3."""
    pytest.importorskip("s3fs", reason="audiogen[remote] is not installed")
    moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
            monkeypatch.setenv(f"AWS_{name}", "x")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        pack_folder(sounds, tmp_path / "packed", archive_bytes=1 << 30)
        store, _ = member.remote("s3://sounds")
        store.mkdir("sounds")
        store.put(str(tmp_path / "packed" / "shard-00000.tar"), "sounds/set/shard-00000.tar")
        here = tmp_path / "here"
        here.mkdir()
        (here / "shards.txt").write_text("s3://sounds/set/shard-00000.tar\n")
        near, far = scan_folder(tmp_path / "packed"), scan_folder(here)
        assert plain(far) == plain(near)
        assert torch.equal(batches_of(tmp_path / "packed", near), batches_of(here, far))
    finally:
        server.stop()


def batches_of(folder: Path, rows: list[ManifestRow]) -> torch.Tensor:
    """An epoch, by two loader processes that begin after this one has read from the source."""
    dataset = ClipDataset(folder, rows, SPEC, crop_frames=40, seed=3, cache_bytes=0)
    assert len(dataset) == len(rows)
    dataset[Position(epoch=0, index=0)]
    sampler = StepSampler(len(rows), batch_size=2, start_step=0, total_steps=3, seed=0)
    return torch.stack(list(make_loader(dataset, sampler, torch.stack, num_workers=2)))


def test_a_store_that_refuses_is_not_taken_for_a_bad_decoder(
    sounds: Path, tmp_path: Path, serve: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp", reason="audiogen[remote] is not installed")
    pack_folder(sounds, tmp_path / "packed", archive_bytes=1 << 30)
    monkeypatch.setattr(RangeHandler, "status", 403)
    here = tmp_path / "here"
    here.mkdir()
    (here / "shards.txt").write_text(f"{serve(tmp_path / 'packed')}/shard-00000.tar\n")
    [row] = scan_folder(here, allow_none=True)
    assert (row.path, row.reason) == ("shard-00000.tar", "unreadable")


def test_a_store_that_fails_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    class Store:
        def cat_file(self, path: str, start: int, end: int) -> bytes:
            calls.append(start)
            if len(calls) % 3:
                raise ConnectionResetError("gone")
            return wav_bytes()[start:end]

    monkeypatch.setattr(member, "remote", lambda _: (Store(), "a.tar"))
    monkeypatch.setattr(member, "PAUSE_SECONDS", 0)
    assert read_range("s3://b/a.tar", 4, 8) == wav_bytes()[4:8]
    whole = len(wav_bytes())
    sound = Member(archive="s3://b/a.tar", name="x.wav", offset=0, num_bytes=whole)
    assert read_audio(sound)[0].shape == (1, round(0.2 * RATE))
    monkeypatch.setattr(Store, "cat_file", lambda *_, **__: 1 / 0)
    with pytest.raises(OSError, match=r"s3://b/a.tar: cannot be read \(ZeroDivisionError"):
        read_range("s3://b/a.tar", 4, 8)
    with pytest.raises(AudioReadError, match="cannot be opened"):
        read_audio(sound)
