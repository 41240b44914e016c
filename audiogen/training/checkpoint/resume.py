"""All that a training stage must save and restore to go on as if it had never stopped.

There is no random state among it: what a step draws is a function of its number (nn/chance.py).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.training.checkpoint.folder import (
    Checkpoint,
    load_latest,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
    save_part,
)
from audiogen.training.distributed.sharding import is_sharded, own_part, split_like
from audiogen.training.distributed.waiting import wait_for_all
from audiogen.training.loop.stage import Learner, StageRun

_ABSENT = object()  # which null is not
_log = logging.getLogger(__name__)


class Resumable:
    """Modules, their optimizers and an EMA, saved and restored together."""

    def __init__(self, learner: Learner, run: StageRun) -> None:
        """Take what the learner of a stage holds.

        A checkpoint of other settings than those of `run` is refused, or, with `allow_change`, gone
        on from, and the changes recorded.
        """
        self._learner, self._run = learner, run
        self._folder = run.folder.checkpoints(run.stage)
        self._changes: list[str] = []

    @torch.no_grad()
    def restore(self) -> int:
        """Load the newest good checkpoint; return its step, 0 for none.

        Raises:
            ValueError: the checkpoint was made with other settings, or lacks something that this
                version keeps; it is named.
        """
        checkpoint, learner = load_latest(self._folder), self._learner
        if checkpoint is None:
            return 0
        self._require_complete(checkpoint)
        self._changes = list(checkpoint.state["changes"])
        found, expected = checkpoint.state["settings"], self._run.settings
        if self._run.config.allow_change:
            self._record_changes(changed_settings(found, expected), checkpoint.step)
        else:
            require_same_settings(found, expected, checkpoint.path)
        for name, module in learner.modules.items():
            for key, value in module.state_dict().items():  # they share the module's memory
                value.copy_(split_like(checkpoint.tensors[name][key], value))
            restore_optimizer(
                learner.optimizers[name],
                checkpoint.tensors[f"{name}_optimizer"],
                dict(module.named_parameters()),
            )
        learner.ema.load_tensors(checkpoint.tensors["ema"])
        learner.guard.load_state(checkpoint.state["guard"])
        return checkpoint.step

    def save(self, step: int) -> None:
        """Write a checkpoint of `step`: every process calls it.

        The main process writes it, and the others their parts of what is split over them.
        """
        in_parts = any(is_sharded(module) for module in self._learner.modules.values())
        if in_parts:
            save_part(self._folder, step, own_part(self._tensors()))
            wait_for_all()
        if self._run.accelerator.is_main_process:
            tensors = None if in_parts else self._tensors()
            state = {
                "settings": dict(self._run.settings),
                "guard": self._learner.guard.state(),
                "changes": self._changes,
            }
            save_checkpoint(self._folder, step, tensors=tensors, state=state)
        wait_for_all()

    def _tensors(self) -> dict[str, dict[str, Tensor]]:
        """All tensors by group; they are live, not copies."""
        tensors: dict[str, dict[str, Tensor]] = {}
        for name, module in self._learner.modules.items():
            tensors[name] = module.state_dict()
            # Empty before its first step; what is missing altogether was lost.
            tensors[f"{name}_optimizer"] = optimizer_tensors(
                self._learner.optimizers[name], dict(module.named_parameters())
            )
        tensors["ema"] = self._learner.ema.tensors()
        return tensors

    def _require_complete(self, checkpoint: Checkpoint) -> None:
        """Raise ValueError that names what the checkpoint lacks, or has beyond what is known."""
        learner = self._learner
        expected, found = {"state settings", "state changes", "state guard"}, set[str]()
        found |= {f"state {key}" for key in checkpoint.state}
        if "guard" in checkpoint.state:
            expected |= {f"guard {key}" for key in learner.guard.state()}
            found |= {f"guard {key}" for key in checkpoint.state["guard"]}
        expected |= {"tensors ema", *(f"tensors {name}_optimizer" for name in learner.modules)}
        found |= {f"tensors {group}" for group in checkpoint.tensors}
        parts = {name: module.state_dict() for name, module in learner.modules.items()}
        parts["ema"] = self._learner.ema.tensors()
        for group, named in parts.items():
            expected |= {f"tensors {group}", *_labels(group, named)}
            found |= _labels(group, checkpoint.tensors.get(group, {}))
        wrong = [f"lacks {name}" for name in sorted(expected - found)]
        wrong += [f"has an unknown {name}" for name in sorted(found - expected)]
        if wrong:
            raise ValueError(
                f"{checkpoint.path}: not a checkpoint that this version and model can go on from\n"
                f"  it {_first_few(wrong, ', ')}\n"
                "  go on with the version that wrote it, or delete that stage's folder"
            )

    def _record_changes(self, changed: list[str], step: int) -> None:
        """Keep and say what is different from now on; later checkpoints hold it."""
        for change in changed:
            _log.warning("changed at step %d, as allowed: %s", step, change)
            self._changes.append(f"step {step}: {change}")


def _labels(group: str, named: Mapping[str, Tensor]) -> set[str]:
    """Name and shape of each tensor of a group."""
    return {f"{group}/{name} {tuple(tensor.shape)}" for name, tensor in named.items()}


def changed_settings(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Return each setting that differs, as "key before -> now"."""
    before, now = _flat(found), _flat(expected)
    return [
        f"{key} {before.get(key, 'absent')} -> {now.get(key, 'absent')}"
        for key in sorted(before | now)
        if before.get(key, _ABSENT) != now.get(key, _ABSENT)
    ]


def require_same_settings(
    found: Mapping[str, Any], expected: Mapping[str, Any], place: Path
) -> None:
    """Raise ValueError that names the settings in which `place` differs from this run's."""
    changed = changed_settings(found, expected)
    if changed:
        raise ValueError(
            f"{place}: made with other settings\n"
            f"  {_first_few(changed, '; ')}\n"
            "  go on with the old settings, give a new run_dir=, delete that stage's folder,"
            " or, where it is not finished, add --allow-change"
        )


def _first_few(texts: Sequence[str], between: str) -> str:
    """The first three texts, and how many more there are."""
    more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
    return between.join(texts[:3]) + more


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted path."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= _flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
