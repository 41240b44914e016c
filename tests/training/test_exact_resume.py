"""Four steps are two, a checkpoint, and two more: bit for bit, for all that training holds."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from audiogen.nn import chance
from audiogen.train_config import OptimConfig
from audiogen.training.checkpoint.folder import load_latest, save_checkpoint
from audiogen.training.checkpoint.optimizer import optimizer_tensors, restore_optimizer
from audiogen.training.loop.ema import EMA
from audiogen.training.loop.optim import adamw, set_lr

Groups = dict[str, dict[str, Tensor]]


class Training:
    """Some training with everything a resume has to bring back."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(
            nn.Linear(6, 8), chance.Dropout(0.3), nn.LayerNorm(8), nn.Linear(8, 1)
        )
        self.module.append(nn.Linear(3, 3))  # never used: has no optimizer state
        self.optimizer = adamw(self.module[:4], OptimConfig(lr=1e-2, weight_decay=0.1))
        self.optimizer.add_param_group({"params": list(self.module[4].parameters())})
        self.ema = EMA(self.module, 0.9)

    def run(self, first: int, last: int) -> None:
        for step in range(first, last):
            set_lr(self.optimizer, 1e-2 / (1 + step))
            with chance.draws_of(0, step, range(5)):
                drawn = chance.randn((5, 6), torch.device("cpu"))
                loss = self.module[:4](drawn).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.ema.update(step)

    def tensors(self) -> Groups:
        return {
            "weights": self.module.state_dict(),
            "ema": self.ema.tensors(),
            "optimizer": optimizer_tensors(self.optimizer, self.module),
        }

    def restore(self, folder: Path) -> int:
        found = load_latest(folder)
        assert found is not None
        self.module.load_state_dict(found.tensors["weights"])
        for name, value in self.ema.tensors().items():
            value.copy_(found.tensors["ema"][name])
        restore_optimizer(self.optimizer, found.tensors["optimizer"], self.module)
        return found.step


def test_four_steps_equal_two_and_two(tmp_path: Path) -> None:
    whole = Training()
    whole.run(0, 4)
    expected = {group: {k: v.clone() for k, v in t.items()} for group, t in whole.tensors().items()}
    half = Training()
    half.run(0, 2)
    save_checkpoint(tmp_path, 2, tensors=half.tensors(), state={})
    resumed = Training()
    torch.manual_seed(99)
    resumed.run(0, 1)  # anything that is not restored now differs
    resumed.run(resumed.restore(tmp_path), 4)
    for group, named in resumed.tensors().items():
        assert named.keys() == expected[group].keys()
        for name, value in named.items():
            assert torch.equal(value, expected[group][name]), f"{group}/{name} differs"


def test_optimizer_state_goes_by_name_and_mismatches_are_refused() -> None:
    training = Training()
    training.run(0, 1)
    tensors = optimizer_tensors(training.optimizer, training.module)
    assert "exp_avg_sq/0.weight" in tensors
    assert not any("4." in name for name in tensors)
    for wrong in (
        {**tensors, "exp_avg/9.weight": torch.zeros(1)},
        {**tensors, "exp_avg/0.weight": torch.zeros(3)},
        {name: value for name, value in tensors.items() if name != "exp_avg/0.weight"},
    ):
        with pytest.raises(ValueError, match="restore_optimizer"):
            restore_optimizer(training.optimizer, wrong, training.module)
    again = optimizer_tensors(training.optimizer, training.module)
    assert all(torch.equal(again[name], value) for name, value in tensors.items())
