"""Decoders that hang, crash or grow harm their own file only, and print nothing."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import hostile
import numpy as np
import pytest
import soundfile

from audiogen.audio.io import sandbox
from audiogen.audio.io.sandbox import EXIT_MEMORY, run_contained
from audiogen.data.intake import scan as intake

RATE = 16_000
HOSTILE = {
    "hang": "too_slow",
    "spin": "too_slow",
    "crash": "decoder_crashed",
    "abort": "decoder_crashed",
    "leave": "decoder_crashed",
    "fail": "decoder_crashed",
    "lie": "decoder_crashed",
    "grow": "too_much_memory",
    "claim": "too_much_memory",
}


def sound(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).standard_normal(RATE // 2) * 0.1, RATE)


def test_intake_survives_hostile_decoders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(intake, "inspect_file", hostile.by_name)
    monkeypatch.setattr(sandbox, "FILE_SECONDS", 4.0)
    monkeypatch.setattr(sandbox, "MEMORY_BYTES", 256 << 20)
    for seed, name in enumerate(HOSTILE):
        sound(tmp_path / f"{name}.wav", seed)
        sound(tmp_path / f"good_{name}.wav", 100 + seed)
    sound(tmp_path / "print.wav", 99)
    rows = {row.path: row for row in intake.scan_folder(tmp_path, num_workers=3)}
    refused = {path: row.reason for path, row in rows.items() if row.verdict == "refused"}
    assert refused == {f"{name}.wav": reason for name, reason in HOSTILE.items()}
    assert refused.keys() | {f"good_{name}.wav" for name in HOSTILE} | {"print.wav"} == rows.keys()
    assert set(refused.values()) <= intake.INTAKE_REASONS.keys()
    assert capfd.readouterr() == ("", "")


def test_rows_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    for seed in range(9):
        sound(tmp_path / f"take_{'abcdefghi'[seed] * 3}.wav", seed)
    (tmp_path / "take_eee.wav").write_bytes(b"")
    alone = intake.scan_folder(tmp_path, num_workers=1)
    assert intake.scan_folder(tmp_path, num_workers=4) == alone
    assert [row.path for row in alone if row.reason] == ["take_eee.wav"]


def test_results_come_in_the_order_of_the_files_from_processes_without_torch(
    tmp_path: Path,
) -> None:
    paths = [tmp_path / f"{size}-\N{SNOWMAN}\n{chr(0xDC80)}.bin" for size in range(40)]
    for size, path in enumerate(paths):
        path.write_bytes(bytes(size))
    results = run_contained(hostile.count, [*paths, tmp_path / "gone"], num_workers=3)
    assert results[:-1] == [{"size": size, "torch": False} for size in range(40)]
    assert results[-1] == "unreadable"
    assert run_contained(hostile.count, []) == []


def test_a_task_that_no_child_can_import_is_an_error_of_ours(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def local(path: Path) -> dict[str, int]:
        return {}

    with pytest.raises(RuntimeError, match="cannot start"):
        run_contained(local, [tmp_path / "x.wav"])
    assert "AttributeError" in capfd.readouterr().err


def test_no_module_of_the_current_folder_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('taken over')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert run_contained(hostile.count, [tmp_path / "json.py"]) == [{"size": 30, "torch": False}]


def test_memory_is_watched_where_the_system_does_not_limit_it() -> None:
    program = (
        "import time; from audiogen.audio.io.sandbox import watch_memory; watch_memory(64 << 20);"
        "small = b'1' * (16 << 20); time.sleep(0.3); print('small', flush=True);"
        "large = b'1' * (256 << 20); time.sleep(60)"
    )
    # Linux counts the memory of the process that starts another: let it be a small one.
    between = (
        f"import subprocess, sys; program = {program!r};"
        "sys.exit(subprocess.run([sys.executable, '-c', program]).returncode)"
    )
    done = subprocess.run(
        [sys.executable, "-c", between], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (EXIT_MEMORY, "small\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_child_outlives_its_parent(number: signal.Signals, tmp_path: Path) -> None:
    sound(tmp_path / "mark.wav", 0)
    program = (
        "import signal, sys; from pathlib import Path; import hostile;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # ignored in the background
        "from audiogen.audio.io.sandbox import run_contained;"
        "run_contained(hostile.by_name, [Path(sys.argv[1])])"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "mark.wav")],
        cwd=Path(__file__).parent,
        stderr=subprocess.DEVNULL,
    )
    mark = tmp_path / "mark.pid"
    wait_until(lambda: mark.is_file() and mark.read_text() != "")
    child = int(mark.read_text())
    assert is_alive(child)
    parent.send_signal(number)
    assert parent.wait(timeout=60) != 0
    wait_until(lambda: not is_alive(child))


def wait_until(happened: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    status = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] not in {"", "Z"}
