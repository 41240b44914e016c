"""All that a training stage must save and restore to go on as if it had never stopped.

There is no random state among it: what a step draws is a function of its number (nn/chance.py).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from audiogen.stage_settings import changed_settings, first_few, require_same_settings
from audiogen.training.checkpoint.folder import (
    Checkpoint,
    TensorGroups,
    load_latest,
    save_checkpoint,
    save_part,
)
from audiogen.training.checkpoint.optimizer import optimizer_tensors, restore_optimizer
from audiogen.training.distributed.sharding import is_sharded, own_part, split_like
from audiogen.training.distributed.waiting import wait_for_all
from audiogen.training.loop.stage import Learner, StageRun

_OPTIMIZER = "_optimizer"
_log = logging.getLogger(__name__)


class Resumable:
    """What the learner of a stage holds, saved and restored together.

    A checkpoint of other settings than those of the run is refused, or, with `allow_change`, gone
    on from, and the changes recorded.
    """

    def __init__(self, learner: Learner, run: StageRun) -> None:
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
            for change in changed_settings(found, expected):
                _log.warning("changed at step %d, as allowed: %s", checkpoint.step, change)
                self._changes.append(f"step {checkpoint.step}: {change}")
        else:
            require_same_settings(found, expected, checkpoint.path)
        for name, tensors in self._weights().items():
            for key, value in tensors.items():
                value.copy_(split_like(checkpoint.tensors[name][key], value))
        for name, optimizer in learner.optimizers.items():
            state = checkpoint.tensors[name + _OPTIMIZER]
            restore_optimizer(optimizer, state, learner.modules[name])
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
            save_checkpoint(self._folder, step, tensors=tensors, state=self._state())
        wait_for_all()

    def _state(self) -> dict[str, Any]:
        """What is no tensor."""
        return {
            "settings": dict(self._run.settings),
            "guard": self._learner.guard.state(),
            "changes": self._changes,
        }

    def _weights(self) -> dict[str, Mapping[str, Tensor]]:
        """Weights and averages by group; they are live, not copies."""
        weights = {name: module.state_dict() for name, module in self._learner.modules.items()}
        return {**weights, "ema": self._learner.ema.tensors()}

    def _tensors(self) -> TensorGroups:
        """All tensors by group; they are live, not copies."""
        tensors = self._weights()
        for name, optimizer in self._learner.optimizers.items():
            module = self._learner.modules[name]
            tensors[name + _OPTIMIZER] = optimizer_tensors(optimizer, module)
        return tensors

    def _require_complete(self, checkpoint: Checkpoint) -> None:
        """Raise ValueError that names what the checkpoint lacks, or has beyond what is known."""
        expected = _contents(self._state(), self._tensors())
        found = _contents(checkpoint.state, checkpoint.tensors)
        wrong = [f"lacks {name}" for name in sorted(expected - found)]
        wrong += [f"has an unknown {name}" for name in sorted(found - expected)]
        if wrong:
            raise ValueError(
                f"{checkpoint.path}: not a checkpoint that this version and model can go on from\n"
                f"  it {first_few(wrong, ', ')}\n"
                "  go on with the version that wrote it, or delete that stage's folder"
            )


def _contents(state: Mapping[str, Any], tensors: TensorGroups) -> set[str]:
    """Names of all parts of a checkpoint; an optimizer has no tensors before its first step."""
    guard = state.get("guard", ())
    names = {f"state {key}" for key in state} | {f"state guard.{key}" for key in guard}
    names |= {f"tensors {group}" for group in tensors}
    return names | {
        f"{group}/{name} {tuple(tensor.shape)}"
        for group, named in tensors.items()
        if not group.endswith(_OPTIMIZER)
        for name, tensor in named.items()
    }
