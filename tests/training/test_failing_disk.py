"""Each call to the disk fails once within a training: it says so, and the same command goes on."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from resuming import checkpoints, crash_at, differing, interrupt, outcome, train

from audiogen import seal, storage

CALLS = [(os, name) for name in ("fsync", "open", "rename", "mkdir", "listdir", "unlink", "rmdir")]
CALLS += [(safetensors.torch, "save_file"), (storage, "sha256_file"), (Path, "write_text")]
CALLS += [(seal, "sha256_file")]


class Disk:
    """Counts what the saves of a training ask of the disk, and refuses one of it."""

    def __init__(self, refused: int) -> None:
        self.refused, self.calls, self.inside = refused, 0, False

    def refusing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += self.inside
            if self.inside and self.calls == self.refused:
                raise OSError(errno.EIO, "Input/output error")
            return original(*args, **kwargs)

        return call

    def saving(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def save(*args: Any, **kwargs: Any) -> Any:
            self.inside = True
            try:
                return original(*args, **kwargs)
            finally:
                self.inside = False

        return save

    def train(self, run: Path, family: str) -> str:
        """Train; return the error's message, or nothing where it went on."""
        from audiogen.training.checkpoint import resume  # noqa: PLC0415

        with pytest.MonkeyPatch.context() as patch:
            for owner, name in CALLS:
                patch.setattr(owner, name, self.refusing(getattr(owner, name)))
            patch.setattr(resume, "save_checkpoint", self.saving(resume.save_checkpoint))
            try:
                train(run, family)
            except OSError as error:
                return str(error)
        return ""


@pytest.mark.parametrize(
    ("family", "every"),
    [
        ("flow", 7),
        pytest.param("flow", 1, marks=pytest.mark.nightly),
        pytest.param("rvq", 1, marks=pytest.mark.nightly),
    ],
)
def test_a_training_outlives_every_call_that_fails(family: str, every: int, tmp_path: Path) -> None:
    """From a run with one checkpoint on: the calls of two more saves and of their pruning."""
    train(tmp_path / "whole", family)
    interrupt(tmp_path / "begun", family, hook=crash_at(2))
    assert checkpoints(tmp_path / "begun") == [2]
    shutil.copytree(tmp_path / "begun", tmp_path / "count")
    counting = Disk(0)
    assert counting.train(tmp_path / "count", family) == ""
    assert counting.calls > 60, "two saves ask less of the disk than this test believes"
    failed = 0
    for number in range(1, counting.calls + 1, every):
        run = Path(shutil.copytree(tmp_path / "begun", tmp_path / "run"))
        message = Disk(number).train(run, family)
        if message:
            failed += 1
            assert "was not saved" in message
            assert "Input/output error" in message
            assert "run the same command again" in message
            assert len(message.splitlines()) <= 4
        assert outcome(run)[1]["step"] in ((2, 4, 6) if message else (6,))
        train(run, family)
        assert differing(run, tmp_path / "whole") == []
        shutil.rmtree(run)
    assert failed > 40 // every
