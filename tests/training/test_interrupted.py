"""Ctrl-C where no step is being made, and in a process that must not heed it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from audiogen.training.distributed.signals import (
    AT_ONCE,
    EXIT_REQUEUE,
    Stopped,
    between_steps,
    stop_signals,
)

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "tiny" / "mel.yaml"


@pytest.fixture
def handler() -> Iterator[None]:
    """Python's own handler of Ctrl-C, which a test run in the background may lack."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("handler")
def test_ctrl_c_before_the_first_step_ends_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    with stop_signals(), pytest.raises(Stopped) as stopped:
        interrupt()
    assert stopped.value.code == EXIT_REQUEUE
    assert AT_ONCE in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("handler")
def test_only_the_second_ctrl_c_ends_a_step() -> None:
    with stop_signals(), between_steps():
        os.kill(os.getpid(), signal.SIGTERM)
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            interrupt()


@pytest.mark.usefixtures("handler")
def test_what_runs_in_the_background_goes_on_ignoring_it() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stop_signals():
        interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.slow
def test_ctrl_c_to_training_and_its_workers_leaves_a_checkpoint_to_go_on_from(
    tmp_path: Path,
) -> None:
    """A terminal sends it to every process in front, those that load sounds too."""
    words = [f"run_dir={tmp_path}", "data.num_workers=2", "train.codec.steps=5000"]
    words += ["train.checkpoint_every=5000"]  # so that the only one is that of the signal
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    start += "from audiogen.cli.main import main; main()"
    command = [sys.executable, "-c", start, "train", str(RECIPE), *words]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        deadline, metrics = time.monotonic() + 120, tmp_path / "metrics.jsonl"
        # Before the first step there is nothing to keep; a line tells of steps that are done.
        while not (metrics.is_file() and metrics.stat().st_size) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == EXIT_REQUEUE, errors[-2000:]
    (checkpoint,) = tmp_path.glob("codec/checkpoints/step-*")
    assert f"after step {int(checkpoint.name[5:])}; the same command goes on" in errors
    assert "Traceback" not in errors
