"""The doctor's verdicts: right on this machine, and right when something is broken."""

import builtins
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from audiogen.cli import doctor
from audiogen.cli import main as cli
from audiogen.conditioning import text as text_module

GB = 10**9


@pytest.fixture
def found() -> dict[str, doctor.Check]:
    return doctor.run_checks()


def test_everything_is_looked_at_and_this_machine_can_run(found: dict[str, doctor.Check]) -> None:
    assert list(found) == [
        "python",
        "torch",
        "threads",
        "device",
        "bf16",
        "torchaudio",
        "sound files",
        "packages",
        "text encoder",
        "wandb",
        "disk",
        "memory",
        "writing",
    ]
    assert [check for check in found.values() if check.verdict == "fail"] == []
    assert sys.executable in found["python"].found
    assert "build" in found["torch"].found
    assert f"of {os.cpu_count()} processors" in found["threads"].found
    assert "sha256 right" in found["text encoder"].found


def test_a_check_that_is_not_ok_says_how_to_mend() -> None:
    check = doctor.Check("4 GB free", "warn", "free some room")
    assert doctor.describe("disk", check) == (
        "warn  disk          4 GB free\n                    -> free some room"
    )
    assert all(check.mend for check in doctor.run_checks().values() if check.verdict != "ok")


@pytest.mark.parametrize(
    ("free_gb", "verdict"), [(0.5, "fail"), (1.5, "warn"), (4.9, "warn"), (5.1, "ok")]
)
def test_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_gb: float, verdict: str
) -> None:
    class Usage:
        free = free_gb * GB

    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: Usage)
    assert doctor.check_disk(tmp_path).verdict == verdict


@pytest.mark.parametrize(("gb", "verdict"), [(2, "fail"), (4, "warn"), (8, "ok")])
def test_memory(monkeypatch: pytest.MonkeyPatch, gb: int, verdict: str) -> None:
    monkeypatch.setattr(doctor, "memory_bytes", lambda: gb * GB)
    assert doctor.check_memory().verdict == verdict


def test_memory_is_at_most_the_machines() -> None:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < doctor.memory_bytes() <= machine


def test_broken_torchaudio_fails_with_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def broken(name: str, *rest: Any, **more: Any) -> Any:
        if name == "torchaudio":
            raise OSError("Could not load this library: _torchaudio.so\nmore")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", broken)
    check = doctor.check_torchaudio()
    assert check.verdict == "fail"
    assert check.found == "Could not load this library: _torchaudio.so"
    assert "make setup" in check.mend


def test_missing_text_encoder_fails_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: object) -> Path:
        raise FileNotFoundError("no text encoder\n  set text.folder")

    monkeypatch.setattr(text_module, "find_text_encoder", missing)
    check = doctor.check_text_encoder()
    assert (check.verdict, check.found, check.mend) == (
        "fail",
        "no text encoder",
        "set text.folder",
    )


def test_old_libsndfile_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soundfile.__libsndfile_version__", "1.0.31")
    assert doctor.check_sound_files().verdict == "warn"


def test_missing_package_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", ("soxr", "no-such-package"))
    check = doctor.check_packages()
    assert (check.verdict, check.found) == ("fail", "missing: no-such-package")


def test_a_folder_that_cannot_be_written_fails(tmp_path: Path) -> None:
    check = doctor.check_writing(tmp_path / "absent")
    assert check.verdict == "fail"
    assert check.mend
    (tmp_path / "runs").mkdir()
    assert doctor.check_writing(tmp_path).found == str(tmp_path / "runs")


def test_one_failing_check_hides_no_other_and_sets_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explode() -> doctor.Check:
        raise RuntimeError("driver too old\nsecond line")

    monkeypatch.setattr(doctor, "check_device", explode)
    monkeypatch.setattr(sys, "argv", ["audiogen", "doctor"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert "fail  device        RuntimeError: driver too old" in lines
    assert any(line.startswith("ok    writing") for line in lines)
