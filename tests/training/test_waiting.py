"""Waiting outside of a collective: longer than its time-out, open to signals, never for ever."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audiogen.training.distributed.signals import EXIT_REQUEUE
from audiogen.training.distributed.waiting import wait_for_all

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys, time
from datetime import timedelta
from pathlib import Path
from audiogen.training.distributed.launch import joined_processes
from audiogen.training.distributed.waiting import wait_for_all

seconds, told = float(sys.argv[1]), Path(sys.argv[2])
with joined_processes(timedelta(seconds=20)) as state:
    told.touch()
    if seconds < 0:
        raise SystemExit(1)
    time.sleep(seconds)
    wait_for_all()
    wait_for_all()
"""
LONG = 24  # longer than a collective may take


def start(folder: Path, seconds: tuple[float, float]) -> list["subprocess.Popen[str]"]:
    """Start two processes that are busy for the given times before they wait for each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    joined = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    joined |= {"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(busy), str(folder / str(rank))],
            env={**os.environ, **joined, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, busy in enumerate(seconds)
    ]


def wait_until_joined(folder: Path) -> None:
    """Wait until both processes have joined."""
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_what_runs_alone_waits_for_nobody() -> None:
    wait_for_all()


@pytest.mark.parametrize(
    "busy",
    [
        pytest.param((LONG, 0), marks=pytest.mark.slow),
        pytest.param((0, LONG), marks=pytest.mark.nightly),
    ],
)
def test_others_wait_longer_than_a_collective_may_take(
    busy: tuple[float, float], tmp_path: Path
) -> None:
    for process in start(tmp_path, busy):
        _, errors = process.communicate(timeout=90)
        assert process.returncode == 0, errors


@pytest.mark.slow
def test_a_signal_ends_a_process_that_waits(tmp_path: Path) -> None:
    busy, waiting = start(tmp_path, (60, 0))
    try:
        wait_until_joined(tmp_path)
        time.sleep(1)
        waiting.send_signal(signal.SIGTERM)
        assert waiting.wait(timeout=10) == EXIT_REQUEUE
    finally:
        busy.kill()
        busy.wait()


def test_nobody_waits_for_a_first_process_that_has_failed(tmp_path: Path) -> None:
    failed, waiting = start(tmp_path, (-1, 0))
    assert failed.wait(timeout=90) == 1
    assert waiting.wait(timeout=30) != 0
