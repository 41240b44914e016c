"""A folder in which one process at a time is at work."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from audiogen import locking
from audiogen.locking import BusyError, hold, new_file


def test_a_lock_ends_with_its_block_also_by_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with hold(tmp_path / "new", "at work"), hold(tmp_path / "other", "at work"):
            raise OSError("stop")

    with (
        hold(tmp_path / "new", "at work"),
        pytest.raises(BusyError, match=f"process {os.getpid()} is at work"),
    ):
        fail()
    with pytest.raises(OSError, match="stop"):
        fail()
    with hold(tmp_path / "new", "at work"):
        pass


def test_where_there_are_no_locks_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(locking.fcntl, "flock", refuse)
    with hold(tmp_path, "at work"):
        pass
    assert "no locks on this file system (No locks available)" in caplog.text


@pytest.mark.usefixtures("fake_text")
def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    old.mkdir()
    for folder in (new, old):
        with pytest.raises(ValueError, match="refused"), hold(folder, "at work"):
            raise ValueError("refused")
    assert not new.exists()
    assert old.is_dir()

    def fail_late() -> None:
        with hold(new, "at work"):
            (new / "made").touch()
            raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        fail_late()
    assert (new / "made").is_file()


def test_many_at_once_are_given_names_of_their_own(tmp_path: Path) -> None:
    def write(number: int) -> Path:
        with new_file(tmp_path / "new", "rain-seed0") as path:
            time.sleep(0.01)  # as long as it takes to write
            path.write_text(str(number))
        return path

    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(write, range(8)))
    assert len(set(paths)) == 8
    assert [path.read_text() for path in paths] == [str(number) for number in range(8)]
    assert sorted((tmp_path / "new").iterdir()) == sorted(paths)  # nothing else is left there


def test_processes_at_once_are_given_names_of_their_own(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from audiogen.locking import new_file\n"
        "for _ in range(5):\n"
        "    with new_file(Path(sys.argv[1]), 'rain', '.tokens') as path:\n"
        "        time.sleep(0.01); path.write_text(sys.argv[2])\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen([*command, name]) for name in "ab"]
    assert [one.wait(60) for one in both] == [0, 0]
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["a"] * 5 + ["b"] * 5


def test_a_name_is_free_again_when_nothing_was_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), new_file(tmp_path, "rain"):
        raise OSError("the disk is full")
    with new_file(tmp_path, "rain") as path:
        assert path == tmp_path / "rain.wav"
