"""Parts of checkpoints: joined to what they were, and refused when one is missing."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiogen.storage import write_tensors
from audiogen.training.checkpoint.folder import load_latest, save_checkpoint
from audiogen.training.distributed.sharding import JoinedTensors, joined_groups

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
    (found,) = joined_groups(tmp_path).values()
    assert isinstance(found, JoinedTensors)
    assert sorted(found) == ["bias", "step", "weight"]
    assert len(found) == 3
    assert all(torch.equal(found[name], tensor) for name, tensor in WHOLE.items())
    assert float(found["step"]) == 4
    with pytest.raises(KeyError):
        found["other"]


@pytest.mark.parametrize("lost", [1, 2])
def test_a_missing_part_is_named(lost: int, tmp_path: Path) -> None:
    write_parts(tmp_path)
    (tmp_path / f"model-{lost:05d}-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match="model lies in 2 parts, of which some are missing"):
        joined_groups(tmp_path)


def test_a_part_of_an_interrupted_save_is_no_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, tensors={"model": WHOLE}, state={})
    (tmp_path / "part-00000").mkdir()
    write_parts(tmp_path / "part-00000")
    checkpoint = load_latest(tmp_path)
    assert checkpoint is not None
    assert checkpoint.step == 1
