"""Two processes on one pack: the second is told so, and a killed one leaves nothing locked."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
import torch

from audiogen.locking import LOCK_FILE, BusyError
from audiogen.pack import make as packs
from audiogen.pack.curation.choices import Choice, Selection, write_selection
from audiogen.pack.job import read_job
from audiogen.pack.make import Done, Worker, make_pack
from audiogen.pack.redo import RedoRequest, redo_pack

TESTS = Path(__file__).resolve().parents[1]
SPAWN = multiprocessing.get_context("spawn")


def make(model: Path, listed: Path, out: Path) -> Done:
    return make_pack(listed, {}, model=model, out=out, worker=Worker(), batch_size=1)


def stop_in_the_middle(model: Path, listed: Path, out: Path, reached: Event) -> None:
    """Make one take of a pack in a process of its own, and stay before the second."""
    sys.path.insert(0, str(TESTS))
    import fake_text  # noqa: PLC0415 - only here is it needed

    import audiogen.pipeline  # noqa: PLC0415

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    audiogen.pipeline.TextEncoder = fake_text.FakeTextEncoder  # type: ignore[misc, assignment]
    written = packs.write_take

    def write_one(*given: Any) -> None:
        if any((out / "takes").glob("*.wav")):
            reached.set()
            signal.pause()
        written(*given)

    packs.write_take = write_one  # type: ignore[assignment]
    make(model, listed, out)


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "list.csv"
    path.write_text("prompt,count,seconds\nrain,3,0.6\n", encoding="utf-8")
    return path


@pytest.fixture
def busy(model: Path, listed: Path, tmp_path: Path) -> Iterator[BaseProcess]:
    """A process that has made one of three takes of the pack, and is still at it."""
    reached = SPAWN.Event()
    given = (model, listed, tmp_path / "pack", reached)
    child = SPAWN.Process(target=stop_in_the_middle, args=given)
    child.start()
    assert reached.wait(300)
    yield child
    child.kill()
    child.join()


@pytest.mark.usefixtures("fake_text")
def test_a_second_process_is_told_and_a_killed_one_frees_the_pack(
    model: Path, listed: Path, tmp_path: Path, busy: BaseProcess
) -> None:
    pack = tmp_path / "pack"
    there = {path: path.read_bytes() for path in pack.rglob("*") if path.is_file()}
    with pytest.raises(BusyError, match=f"process {busy.pid} is making takes") as told:
        make(model, listed, pack)
    assert len(str(told.value).splitlines()) <= 4
    write_selection(pack, Selection(takes={read_job(pack)[0].file: Choice(status="keep")}))
    with pytest.raises(BusyError, match="wait until it is done"):
        redo_pack(pack, RedoRequest(vary=2), Worker())
    assert {path: path.read_bytes() for path in there} == there
    assert len(list((pack / "takes").glob("*.wav"))) == 1
    assert busy.pid is not None
    os.kill(busy.pid, signal.SIGKILL)
    busy.join()
    assert (pack / LOCK_FILE).exists()
    done = make(model, listed, pack)
    assert (len(done.takes), done.there_before) == (3, 1)
    assert len(redo_pack(pack, RedoRequest(vary=2), Worker()).takes) == 2


def test_only_the_first_of_the_processes_of_a_job_holds_it(tmp_path: Path) -> None:
    first, second = Worker(rank=0, count=2), Worker(rank=1, count=2)
    with first.holding(tmp_path), second.holding(tmp_path), pytest.raises(BusyError):
        first.holding(tmp_path).__enter__()


@pytest.mark.usefixtures("fake_text")
def test_a_pack_that_is_not_there_is_not_made_by_redo(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no take is kept"):
        redo_pack(tmp_path / "mistyped", RedoRequest(vary=1), Worker())
    assert not (tmp_path / "mistyped").exists()
