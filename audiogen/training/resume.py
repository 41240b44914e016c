"""All that a training stage must save and restore to go on as if it had never stopped.

There is no random state among it: what a step draws is a function of its number (nn/chance.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from audiogen.training.checkpoint import (
    load_latest,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from audiogen.training.ema import EMA


class Resumable:
    """Modules, their optimizers and an EMA, saved and restored together."""

    def __init__(
        self,
        folder: Path,
        *,
        modules: Mapping[str, nn.Module],
        optimizers: Mapping[str, Optimizer],
        ema: EMA,
        settings: Mapping[str, Any],
    ) -> None:
        """Name what belongs to the stage.

        Args:
            folder: where its checkpoints are.
            modules: unwrapped modules by name (lower-case letters, digits and _).
            optimizers: one for each of `modules`, by the same name.
            ema: of the module that is exported.
            settings: what the run was configured with, as JSON; a checkpoint of other settings is
                refused.
        """
        self._folder, self._ema, self._settings = folder, ema, dict(settings)
        self._modules, self._optimizers = modules, optimizers

    def restore(self) -> int:
        """Load the newest good checkpoint; return its step, 0 when there is none.

        Raises:
            ValueError: the checkpoint was made with other settings; they are named.
        """
        checkpoint = load_latest(self._folder)
        if checkpoint is None:
            return 0
        require_same_settings(checkpoint.state["settings"], self._settings, checkpoint.path)
        for name, module in self._modules.items():
            module.load_state_dict(checkpoint.tensors[name])
            restore_optimizer(
                self._optimizers[name],
                checkpoint.tensors.get(f"{name}_optimizer", {}),
                dict(module.named_parameters()),
            )
        self._ema.load_tensors(checkpoint.tensors["ema"])
        return checkpoint.step

    def save(self, step: int, accelerator: Accelerator) -> None:
        """Write a checkpoint of `step`: every process calls it, the main one writes."""
        if accelerator.is_main_process:
            tensors: dict[str, dict[str, Tensor]] = {}
            for name, module in self._modules.items():
                tensors[name] = module.state_dict()
                optimizer = optimizer_tensors(
                    self._optimizers[name], dict(module.named_parameters())
                )
                if optimizer:
                    tensors[f"{name}_optimizer"] = optimizer
            tensors["ema"] = self._ema.tensors()
            save_checkpoint(self._folder, step, tensors=tensors, state={"settings": self._settings})
        accelerator.wait_for_everyone()


def require_same_settings(
    found: Mapping[str, Any], expected: Mapping[str, Any], place: Path
) -> None:
    """Raise ValueError that names the settings in which `place` differs from this run's."""
    before, now = _flat(found), _flat(expected)
    changed = [
        f"{key} {before.get(key, 'absent')} -> {now.get(key, 'absent')}"
        for key in sorted(before | now)
        if before.get(key) != now.get(key)
    ]
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise ValueError(
            f"{place}: made with other settings\n"
            f"  {'; '.join(changed[:3])}{more}\n"
            "  go on with the old settings, give a new run_dir=, or delete that stage's folder"
        )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted path."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= _flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
