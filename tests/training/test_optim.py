"""Weight decay acts where it belongs, and the learning rate reaches every group."""

import pytest
import torch
from torch import nn

from audiogen.training.optim import adamw, set_lr


def test_only_matrices_and_kernels_decay() -> None:
    module = nn.ModuleDict(
        {"table": nn.Embedding(5, 4), "linear": nn.Linear(4, 3), "norm": nn.LayerNorm(3),
         "conv": nn.Conv1d(2, 2, 3)}
    )  # fmt: skip
    frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)
    module.register_parameter("frozen", frozen)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    optimizer = adamw(module, lr=0.5, betas=(0.9, 0.99), weight_decay=0.1)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    decayed = {
        name for name, value in module.state_dict().items() if not torch.equal(value, before[name])
    }
    assert decayed == {"linear.weight", "conv.weight"}
    torch.testing.assert_close(module["conv"].weight, before["conv.weight"] * (1 - 0.5 * 0.1))


def test_set_lr_reaches_every_group() -> None:
    optimizer = adamw(nn.Linear(2, 2), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
    set_lr(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_a_module_without_trained_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="requires gradients"):
        adamw(nn.Linear(2, 2).requires_grad_(False), lr=1, betas=(0.9, 0.99), weight_decay=0)
