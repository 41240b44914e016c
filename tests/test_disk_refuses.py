"""A disk that refuses: a message of at most four lines that names the place, and no half files."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from sampled import sampled

from audiogen.audio.io.files import write_audio, write_blocks
from audiogen.cli import main as cli
from audiogen.locking import hold
from audiogen.pack.export.exporting import ExportRequest, export_pack
from audiogen.storage import (
    DiskError,
    atomic_write_text,
    make_folder,
    publish_folder,
    replacing,
    write_tensors,
)

RATE = 16_000
NOISE = 0.1 * torch.randn(1, 2 * RATE, generator=torch.Generator().manual_seed(0))
HINTS = {
    errno.ENOSPC: "free on that disk: ",
    errno.EDQUOT: "free on that disk: ",
    errno.EFBIG: "free on that disk: ",
    errno.EROFS: "a folder that you may write to",
    errno.EACCES: "a folder that you may write to",
    errno.EIO: "may be failing",
}


@contextlib.contextmanager
def room_for(num_bytes: int) -> Iterator[None]:
    """Let no file be longer: the system itself refuses, in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def check(error: OSError, place: Path) -> None:
    lines = str(error).splitlines()
    assert lines[0].startswith(f"{place}: could not be written (")
    assert "give the command again" in lines[1]
    assert "stays" in lines[2]
    assert len(lines) <= cli.ERROR_LINES


@pytest.mark.parametrize("name", ["x.wav", "x.flac"])
def test_a_sound_that_does_not_fit_is_told_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    write_audio(tmp_path / "before.wav", NOISE, RATE)
    with room_for(20_000), pytest.raises(DiskError, match="File too large") as raised:
        write_audio(tmp_path / name, NOISE, RATE)
    check(raised.value, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["before.wav"]


def test_a_long_sound_that_does_not_fit_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    blocks = NOISE.split(1000, dim=1)
    with room_for(20_000), pytest.raises(DiskError, match="File too large") as raised:
        write_blocks(tmp_path / "x.wav", blocks, RATE, audio_channels=1, num_samples=NOISE.shape[1])
    check(raised.value, tmp_path / "x.wav")
    assert list(tmp_path.iterdir()) == []


def test_tensors_that_do_not_fit_are_told_by_their_folder(tmp_path: Path) -> None:
    def write() -> None:
        with publish_folder(tmp_path / "model") as folder:
            write_tensors(folder / "weights.safetensors", {"a": torch.zeros(20_000)})

    with room_for(20_000), pytest.raises(DiskError) as raised:
        write()
    check(raised.value, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", HINTS)
@pytest.mark.parametrize("kind", ["file", "folder", "mkdir", "lock"])
def test_each_refusal_says_where_and_what_to_do(
    number: int, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "new" / "place"

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    owner, name = (Path, "mkdir") if kind in ("mkdir", "lock") else (os, "fsync")
    monkeypatch.setattr(owner, name, refuse)

    def write() -> None:
        if kind == "file":
            atomic_write_text(place, "new")
        elif kind == "folder":
            with publish_folder(place) as folder:
                atomic_write_text(folder / "inside", "new")
        elif kind == "mkdir":
            make_folder(place)
        else:
            with hold(place):
                pass

    with pytest.raises(DiskError, match=os.strerror(number)) as raised:
        write()
    monkeypatch.undo()
    check(raised.value, place)
    assert HINTS[number] in str(raised.value)
    assert not place.exists()


def test_what_cannot_be_read_is_not_blamed_on_what_is_written(tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    refusal = PermissionError(errno.EACCES, "Permission denied", str(other))
    with pytest.raises(PermissionError) as raised, replacing(tmp_path / "x.txt"):
        raise refusal
    assert raised.value is refusal


@pytest.mark.usefixtures("fake_text")
def test_takes_that_were_made_stay(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, fsync, calls = tmp_path / "takes", os.fsync, []

    def full_later(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_later)
    with pytest.raises(DiskError, match="No space left") as raised:
        sampled(model, out, seconds=1.2, count=3)
    monkeypatch.undo()
    assert len(str(raised.value).splitlines()) <= cli.ERROR_LINES
    assert str(out) in str(raised.value)
    assert [path.suffix for path in sorted(out.iterdir())] == [".json", ".wav"]


@pytest.mark.usefixtures("fake_text")
def test_an_export_that_does_not_fit_leaves_the_pack_as_it_was(model: Path, tmp_path: Path) -> None:
    sampled(model, tmp_path / "pack" / "takes", seconds=1.2)
    before = sorted(tmp_path.rglob("*"))
    request = ExportRequest(to=tmp_path / "out")
    with room_for(20_000), pytest.raises(DiskError) as raised:
        export_pack(tmp_path / "pack" / "takes", request)
    check(raised.value, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before
