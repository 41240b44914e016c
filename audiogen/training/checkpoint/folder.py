"""Checkpoints that survive a kill at any instant and are never trusted unread.

A checkpoint is a folder `step-00000500` with one safetensors file per group of tensors (weights,
ema, optimizer, ...), state.json, and MANIFEST.json with the size and sha256 of each file; where
processes hold parts of the tensors (distributed/sharding.py), one file per group and process. It
is written under a temporary name, flushed, renamed and read back; only then are older ones deleted.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from audiogen.seal import DamagedFolderError, seal_folder, verify_folder
from audiogen.storage import (
    publish_folder,
    read_json,
    remove_folder,
    write_tensors,
)
from audiogen.training.distributed.sharding import read_groups, take_parts, write_part

FORMAT = 1
STATE = "state.json"
KEEP = 2
"""Checkpoints that stay: the newest, and one that was good when the newest was written."""

_FOLDER = re.compile(r"step-(\d{8,})(\.old-\d+)?")  # .old: a replacement died half-way
_log = logging.getLogger(__name__)

TensorGroups = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What `save_checkpoint` was given, read back and verified.

    Attributes:
        step: number of optimizer updates done.
        tensors: {group: {name: tensor}}, whole, on the CPU.
        state: everything that is not a tensor, as JSON holds it.
        path: the folder it came from.
    """

    step: int
    tensors: TensorGroups
    state: Mapping[str, Any]
    path: Path


def save_checkpoint(
    folder: Path,
    step: int,
    *,
    tensors: TensorGroups | None,
    state: Mapping[str, Any],
) -> Path:
    """Write `folder/step-<step>`, verify it, and delete all but the newest two good ones.

    Call it on the main process only.

    Args:
        folder: of the checkpoints of a stage; made when missing.
        step: optimizer updates done.
        tensors: {group: {name: tensor}}, from any device; a group is one file. None: all processes
            have called `save_part`.
        state: JSON values (text keys, lists rather than tuples), so that loading gives them equal.

    Returns:
        The folder of the new checkpoint.

    Raises:
        ValueError: a tensor is not finite (it is named).
        OSError: the disk refused; older checkpoints are untouched and the message says what to do.
    """
    written = {} if tensors is None else tensors
    content = {"format": FORMAT, "step": step, "state": dict(state)}
    state_text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    final = folder / f"step-{step:08d}"
    with _saving(folder, step, written):
        with publish_folder(final) as temporary:
            for group, named in written.items():
                write_tensors(temporary / f"{group}.safetensors", named)
            if tensors is None:
                take_parts(folder, temporary)
            (temporary / STATE).write_text(state_text, encoding="utf-8")
            seal_folder(temporary)
        verify_folder(final)
    _prune(folder, newest=final)
    return final


def save_part(folder: Path, step: int, part: TensorGroups) -> None:
    """Write this process's `own_part` of the checkpoint that `save_checkpoint` will then make.

    Raises as `save_checkpoint` does.
    """
    with _saving(folder, step, part):
        write_part(folder, part)


def load_latest(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint in `folder` that verifies, or None when there is none.

    Checkpoints that do not verify are skipped with a logged warning that says why.
    """
    for path in _checkpoints(folder):
        try:
            return load_checkpoint(path)
        except (ValueError, OSError) as error:
            _log.warning("skipped checkpoint %s: %s", path, error)
    return None


def newest_state(folder: Path) -> dict[str, Any]:
    """Return the state of the newest checkpoint in `folder`, not verified; empty for none."""
    for path in _checkpoints(folder):
        with contextlib.suppress(OSError, ValueError, KeyError):
            state: dict[str, Any] = read_json(path / STATE)["state"]
            return state
    return {}


def load_checkpoint(path: Path) -> Checkpoint:
    """Verify and read one checkpoint folder.

    Raises:
        DamagedFolderError: it is not what was saved.
        OSError: it cannot be read.
    """
    verify_folder(path)
    content = read_json(path / STATE)
    match = _FOLDER.fullmatch(path.name)
    if match is None or content["step"] != int(match[1]):
        raise DamagedFolderError(
            f"{STATE} is of step {content['step']}, the folder is called {path.name}"
        )
    return Checkpoint(
        step=content["step"],
        tensors=read_groups(path),
        state=content["state"],
        path=path,
    )


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoint folders, newest step first, verified or not."""
    if not folder.is_dir():
        return []
    found = [(match, path) for path in folder.iterdir() if (match := _FOLDER.fullmatch(path.name))]
    found.sort(key=lambda item: (int(item[0][1]), item[0][2] is None), reverse=True)
    return [path for _, path in found if path.is_dir()]


def _prune(folder: Path, newest: Path) -> None:
    """Delete what is older than `KEEP` verified checkpoints; the new one is safe, so only warn."""
    verified = 0
    try:
        for path in _checkpoints(folder):
            if verified >= KEEP:
                remove_folder(path)
            elif path == newest or _is_good(path):
                verified += 1
    except OSError as error:
        _log.warning("old checkpoints in %s could not be deleted: %s", folder, error)


def _is_good(path: Path) -> bool:
    try:
        verify_folder(path)
    except DamagedFolderError as error:
        _log.warning("checkpoint %s does not count as kept: %s", path, error)
        return False
    return True


def _require_finite(tensors: TensorGroups, step: int) -> None:
    for group, named in tensors.items():
        for name, tensor in named.items():
            if not tensor.is_floating_point() or bool(tensor.isfinite().all()):
                continue
            count = int((~tensor.isfinite()).sum())
            raise ValueError(
                f"checkpoint of step {step} refused: {group}/{name} has {count} of"
                f" {tensor.numel()} values that are NaN or infinite\n"
                "  the older checkpoints are untouched; training diverged: try a lower learning"
                " rate or a smaller max_grad_norm"
            )


@contextlib.contextmanager
def _saving(folder: Path, step: int, tensors: TensorGroups) -> Iterator[None]:
    """Refuse what is not finite or cannot fit, and say of any failure inside what to do.

    A full disk may harm others who write to it.
    """
    _require_finite(tensors, step)
    needed = sum(tensor.nbytes for named in tensors.values() for tensor in named.values())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < needed:
            raise OSError(errno.ENOSPC, "No space left on device")
        yield
    except (OSError, DamagedFolderError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(place).free
        raise OSError(
            f"checkpoint of step {step} was not saved in {folder}: {reason}\n"
            f"  it needs {needed / 1e6:,.0f} MB, free on that disk: {free / 1e6:,.0f} MB; the older"
            " checkpoints are untouched\n"
            "  free space (old runs, their latents/ and takes/), or move the run to a disk with"
            " room and pass run_dir=; then run the same command again"
        ) from error
