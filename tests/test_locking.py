"""A folder in which one process at a time is at work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from audiogen import locking
from audiogen.locking import BusyError, hold


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
