"""Whatever happens during a save, an earlier or the new checkpoint loads, verified and exact."""

import errno
import json
import logging
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from audiogen import seal, storage
from audiogen.seal import DamagedFolderError
from audiogen.training.checkpoint import folder as checkpoint
from audiogen.training.checkpoint.folder import (
    load_checkpoint,
    load_latest,
    save_checkpoint,
)

Groups = dict[str, dict[str, Tensor]]


def content(step: int) -> Groups:
    generator = torch.Generator().manual_seed(step)
    return {
        "weights": {"a.weight": torch.randn(7, 5, generator=generator)},
        "ema": {"a.weight": torch.randn(7, 5, generator=generator)},
        "rng": {"cpu": torch.full((9,), step % 251, dtype=torch.uint8)},
    }


def save(folder: Path, step: int) -> Path:
    return save_checkpoint(folder, step, tensors=content(step), state={"epoch": step, "best": 0.5})


def loads(folder: Path) -> int:
    """Return the step of the newest checkpoint after checking every value in it."""
    found = load_latest(folder)
    assert found is not None
    expected = content(found.step)
    assert found.tensors.keys() == expected.keys()
    for group, named in expected.items():
        assert all(torch.equal(found.tensors[group][name], value) for name, value in named.items())
    assert found.state == {"epoch": found.step, "best": 0.5}
    return found.step


def steps(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def in_child(action: Callable[[], object], *, wait: bool = True) -> int:
    """Run `action` in a forked process; return its pid, or the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1] & 0x7F if wait else pid


def test_saves_loads_and_keeps_the_newest(tmp_path: Path) -> None:
    folder = tmp_path / "generator" / "checkpoints"
    assert load_latest(folder) is None
    for step in (5, 10, 100_000_000, 20):
        path = save(folder, step)
        assert load_checkpoint(path).step == step
    assert steps(folder) == ["step-00000020", "step-100000000"]
    assert loads(folder) == 100_000_000


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 7, tensors={"weights": {"a": torch.zeros(1)}}, state={})
    save(tmp_path, 7)
    assert loads(tmp_path) == 7
    assert steps(tmp_path) == ["step-00000007"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_non_finite_tensor_is_named_and_nothing_changes(tmp_path: Path, value: float) -> None:
    save(tmp_path, 1)
    bad = content(2)
    bad["ema"]["a.weight"][3, 2] = value
    with pytest.raises(ValueError, match=r"ema/a\.weight has 1 of 35"):
        save_checkpoint(tmp_path, 2, tensors=bad, state={})
    assert steps(tmp_path) == ["step-00000001"]


def test_numbers_that_json_has_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tmp_path, 2, tensors={}, state={"a": float("nan")})
    assert steps(tmp_path) == []


def test_every_flipped_bit_and_every_truncation_is_seen(tmp_path: Path) -> None:
    path = save(tmp_path, 3)
    for file in sorted(path.iterdir()):
        good = file.read_bytes()
        for position in range(0, 8 * len(good), 17):
            flipped = bytearray(good)
            flipped[position // 8] ^= 1 << position % 8
            file.write_bytes(flipped)
            with pytest.raises(DamagedFolderError):
                seal.verify_folder(path)
        for length in range(0, len(good) - 1, 11):
            file.write_bytes(good[:length])
            with pytest.raises(DamagedFolderError):
                seal.verify_folder(path)
        file.write_bytes(good)
    seal.verify_folder(path)


def missing(path: Path) -> None:
    (path / "ema.safetensors").unlink()


def extra(path: Path) -> None:
    (path / "more.safetensors").write_bytes(b"x")


def renamed(path: Path) -> None:
    path.rename(path.with_name("step-00000099"))


def no_manifest(path: Path) -> None:
    (path / seal.MANIFEST).unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (missing, "ema.safetensors is missing"),
        (extra, "more.safetensors"),
        (renamed, "is of step 2"),
        (no_manifest, "MANIFEST.json is missing"),
    ],
)
def test_a_damaged_checkpoint_is_skipped_and_the_reason_logged(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    reason: str,
) -> None:
    save(tmp_path, 1)
    damage(save(tmp_path, 2))
    with caplog.at_level(logging.WARNING):
        assert loads(tmp_path) == 1
    assert reason in caplog.text


def test_damaged_checkpoints_do_not_count_as_kept(tmp_path: Path) -> None:
    for step in (1, 2):
        save(tmp_path, step)
    (tmp_path / "step-00000002" / "state.json").write_text("{}")
    save(tmp_path, 3)
    assert steps(tmp_path) == ["step-00000001", "step-00000002", "step-00000003"]
    save(tmp_path, 4)
    assert steps(tmp_path) == ["step-00000003", "step-00000004"]


def kill(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_call(owner: object, name: str, number: int, *, after: bool) -> None:
    """In this (child) process, die at the given call of `owner.name`, before or after its work."""
    original, calls = getattr(owner, name), []

    def wrapped(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) < number:
            return original(*args, **kwargs)
        if after:
            original(*args, **kwargs)
        return kill()

    setattr(owner, name, wrapped)


def kill_inside_file(*args: Any, **_: object) -> None:
    Path(args[1]).write_bytes(safetensors.torch.save(args[0])[:-20])
    kill()


KILL_POINTS: dict[str, tuple[Callable[[], None], int]] = {
    "before the folder": (lambda: kill_at_call(os, "mkdir", 1, after=False), 2),
    "inside weights": (lambda: setattr(safetensors.torch, "save_file", kill_inside_file), 2),
    "after weights": (lambda: kill_at_call(safetensors.torch, "save_file", 1, after=True), 2),
    "after all tensors": (lambda: kill_at_call(safetensors.torch, "save_file", 3, after=True), 2),
    "before the manifest": (lambda: kill_at_call(Path, "write_text", 2, after=False), 2),
    "before the rename": (lambda: kill_at_call(os, "rename", 1, after=False), 2),
    "after the rename": (lambda: kill_at_call(os, "rename", 1, after=True), 3),
    "before pruning": (lambda: kill_at_call(os, "rename", 2, after=False), 3),
    "inside pruning": (lambda: kill_at_call(os, "unlink", 1, after=True), 3),
}


@pytest.mark.parametrize("point", KILL_POINTS)
def test_kill_at_a_named_point_loses_nothing(tmp_path: Path, point: str) -> None:
    arm, survivor = KILL_POINTS[point]
    for step in (1, 2):
        save(tmp_path, step)

    def child() -> None:
        arm()
        save(tmp_path, 3)

    assert in_child(child) == signal.SIGKILL, "the child never came to this point"
    assert loads(tmp_path) == survivor
    save(tmp_path, 4)  # the next save clears what the dead left behind
    save(tmp_path, 5)
    assert steps(tmp_path) == ["step-00000004", "step-00000005"]


@pytest.mark.parametrize("number", [1, 2])
def test_kill_while_replacing_the_only_checkpoint(tmp_path: Path, number: int) -> None:
    save(tmp_path, 1)

    def child() -> None:
        kill_at_call(os, "rename", number, after=True)
        save(tmp_path, 1)

    assert in_child(child) == signal.SIGKILL
    assert loads(tmp_path) == 1
    save(tmp_path, 1)
    assert steps(tmp_path) == ["step-00000001"]


def test_kills_at_random_times(tmp_path: Path) -> None:
    chance, inside = random.Random(0), 0  # noqa: S311
    save(tmp_path, 0)
    for _ in range(20):
        first = loads(tmp_path)
        read_end, write_end = os.pipe()

        def child(start: int = first, pipe: int = write_end) -> None:
            for step in range(start + 1, start + 1000):
                save(tmp_path, step)
                os.write(pipe, b".")

        begin = time.monotonic()
        pid = in_child(child, wait=False)
        os.read(read_end, 1)  # one save is done; the kill falls somewhere in the next
        time.sleep(chance.uniform(0, time.monotonic() - begin))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read_end)
        os.close(write_end)
        inside += any(".tmp-" in name for name in steps(tmp_path))
        assert loads(tmp_path) > first
    assert inside > 0, "no kill fell inside a save"
    assert len(steps(tmp_path)) <= 3 + 1  # good ones, one not pruned yet, what the last kill left


FALLIBLE = [(os, name) for name in ("fsync", "open", "rename", "mkdir", "listdir", "unlink")]
FALLIBLE += [(os, "rmdir"), (safetensors.torch, "save_file"), (storage, "sha256_file")]
FALLIBLE += [(Path, "write_text"), (seal, "sha256_file")]


class FaultyDisk:
    """Counts the calls that a save makes to the disk and fails one of them."""

    def __init__(self, number: int) -> None:
        self.number, self.calls = number, 0

    def wrap(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == self.number:
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(*args, **kwargs)

        return wrapped

    def save(self, folder: Path, step: int) -> str:
        """Save with the fault in place; return the error message, or "" when it succeeded."""
        with pytest.MonkeyPatch.context() as patch:
            for owner, name in FALLIBLE:
                patch.setattr(owner, name, self.wrap(getattr(owner, name)))
            try:
                save(folder, step)
            except OSError as error:
                return str(error)
        return ""


def test_failing_every_single_call_leaves_a_loadable_checkpoint(tmp_path: Path) -> None:
    for step in (1, 2):
        save(tmp_path / "base", step)
    failures, number, disk = 0, 0, FaultyDisk(0)
    while disk.calls >= number:
        number += 1
        folder = Path(shutil.copytree(tmp_path / "base", tmp_path / f"{number:03d}"))
        disk = FaultyDisk(number)
        message = disk.save(folder, 3)
        if message:
            failures += 1
            assert "No space left" in message
            assert "older checkpoints are untouched" in message
            assert len(message.splitlines()) <= 4
            assert {"step-00000001", "step-00000002"} <= set(steps(folder))
        assert loads(folder) in ((2, 3) if message else (3,))
        shutil.rmtree(folder)
    assert failures > 25, "the save makes fewer calls than this test believes"


@pytest.mark.parametrize("limit", [0, 64, 150, 250, 400])
def test_a_real_write_error_in_any_file(tmp_path: Path, limit: int) -> None:
    """The kernel refuses writes beyond `limit` bytes, in Python and in the tensor library."""
    for step in (1, 2):
        save(tmp_path, step)
    message = tmp_path.parent / f"message-{limit}"
    os.mkfifo(message)

    def child() -> None:
        pipe = message.open("w")
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            save(tmp_path, 3)
        except OSError as error:
            pipe.write(str(error))
            pipe.close()

    pid = in_child(child, wait=False)
    text = message.read_text()
    os.waitpid(pid, 0)
    assert "checkpoint of step 3 was not saved" in text
    assert loads(tmp_path) == 2
    assert steps(tmp_path) == ["step-00000001", "step-00000002"]


def test_a_full_disk_is_refused_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)
    usage = shutil.disk_usage(tmp_path)._replace(free=200)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(checkpoint, "write_tensors", lambda *_: pytest.fail("wrote"))
    with pytest.raises(OSError, match="free space"):
        save(tmp_path, 2)
    assert loads(tmp_path) == 1


def test_no_code_in_a_checkpoint(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    assert {file.suffix for file in path.iterdir()} == {".json", ".safetensors"}
    assert json.loads((path / "state.json").read_text())["step"] == 1
