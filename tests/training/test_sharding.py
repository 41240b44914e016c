"""Parts of checkpoints: joined to what they were, and refused when one is missing."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiogen.seal import DamagedFolderError, seal_folder
from audiogen.storage import write_tensors
from audiogen.training.checkpoint.folder import load_checkpoint, load_latest, save_checkpoint
from audiogen.training.distributed.sharding import read_groups

WHOLE = {"weight": torch.arange(15.0).reshape(5, 3), "bias": torch.tensor([7.0])}


def write_parts(folder: Path) -> None:
    """Two processes' parts: five rows as 3 and 2, one row as 1 and 0, and what is not split."""
    parts: list[dict[str, Tensor]] = [
        {"weight": WHOLE["weight"][:3], "bias": WHOLE["bias"], "step": torch.tensor(4.0)},
        {"weight": WHOLE["weight"][3:], "bias": WHOLE["bias"][:0]},
    ]
    for number, part in enumerate(parts, start=1):
        write_tensors(folder / f"model-{number:05d}-of-00002.safetensors", part)


def test_parts_are_joined(tmp_path: Path) -> None:
    write_parts(tmp_path)
    write_tensors(tmp_path / "ema.safetensors", WHOLE)  # another group, in one file
    found = read_groups(tmp_path)
    assert sorted(found) == ["ema", "model"]
    assert sorted(found["model"]) == ["bias", "step", "weight"]
    for group in found.values():
        assert all(torch.equal(group[name], tensor) for name, tensor in WHOLE.items())
    assert float(found["model"]["step"]) == 4


@pytest.mark.parametrize("lost", [1, 2])
def test_a_checkpoint_that_lost_a_part_is_none(lost: int, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, tensors={"model": WHOLE}, state={})
    write_parts(path)
    seal_folder(path)
    (path / f"model-{lost:05d}-of-00002.safetensors").unlink()
    with pytest.raises(DamagedFolderError, match=f"model-{lost:05d}-of-00002"):
        load_checkpoint(path)


def test_a_part_of_an_interrupted_save_is_no_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, tensors={"model": WHOLE}, state={})
    (tmp_path / "part-00000").mkdir()
    write_parts(tmp_path / "part-00000")
    checkpoint = load_latest(tmp_path)
    assert checkpoint is not None
    assert checkpoint.step == 1
