"""Weight decay acts where it belongs, the learning rate reaches every group, Muon its matrices."""

import copy

import pytest
import torch
from torch import Tensor, nn

from audiogen.train_config import OptimConfig
from audiogen.training.checkpoint.optimizer import optimizer_tensors, restore_optimizer
from audiogen.training.loop.optim import MuonAdamW, adamw, build_optimizer, set_lr


def test_only_matrices_and_kernels_decay() -> None:
    module = nn.ModuleDict(
        {
            "table": nn.Embedding(5, 4),
            "linear": nn.Linear(4, 3),
            "norm": nn.LayerNorm(3),
            "conv": nn.Conv1d(2, 2, 3),
        }
    )
    frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)
    module.register_parameter("frozen", frozen)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    optimizer = adamw(module, OptimConfig(lr=0.5, weight_decay=0.1))
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    decayed = {
        name for name, value in module.state_dict().items() if not torch.equal(value, before[name])
    }
    assert decayed == {"linear.weight", "conv.weight"}
    torch.testing.assert_close(module["conv"].weight, before["conv.weight"] * (1 - 0.5 * 0.1))


def test_set_lr_reaches_every_group() -> None:
    optimizer = adamw(nn.Linear(2, 2), OptimConfig())
    set_lr(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_a_module_without_trained_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="requires gradients"):
        adamw(nn.Linear(2, 2).requires_grad_(False), OptimConfig())


class Network(nn.Module):
    """Blocks between an input and an output projection."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 8)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8)) for _ in range(2)
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = x + block(x)
        y: Tensor = self.head(x)
        return y


MATRICES = {f"blocks.{block}.{layer}.weight" for block in (0, 1) for layer in (0, 2)}


def network(seed: int = 0) -> tuple[Network, MuonAdamW]:
    torch.manual_seed(seed)
    made = Network()
    optimizer = build_optimizer(made, OptimConfig(algorithm="muon", lr=0.01))
    assert isinstance(optimizer, MuonAdamW)
    return made, optimizer


def train(made: Network, optimizer: torch.optim.Optimizer, steps: range) -> float:
    """Learn a fixed function; return the last loss."""
    loss = torch.zeros(())
    for step in steps:
        random = torch.Generator().manual_seed(step)
        x = torch.randn(64, 3, generator=random)
        loss = (made(x) - x.flip(1).sin()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        set_lr(optimizer, 0.01 / (1 + step / 50))
        optimizer.step()
    return float(loss.detach())


def test_muon_steps_are_orthogonal_and_of_the_size_of_adamws() -> None:
    made, optimizer = network()
    before = {name: value.clone() for name, value in made.named_parameters()}
    for parameter in made.parameters():
        parameter.grad = torch.randn_like(parameter)
    set_lr(optimizer, 1e-3)
    optimizer.step()
    for name, parameter in made.named_parameters():
        step = (parameter.detach() - before[name].detach() * (1 - 1e-3 * 0.01)) / 1e-3
        if name in MATRICES:
            sizes = torch.linalg.svdvals(step) / (0.2 * 32**0.5)  # (Liu et al. 2025, section 2.2)
            assert 0.6 < float(sizes.min()) <= float(sizes.max()) < 1.3, name
            assert 0.1 < float(step.square().mean().sqrt()) < 0.3, name
        elif parameter.ndim == 2:
            torch.testing.assert_close(step.abs(), torch.ones_like(step), atol=0.02, rtol=0)


def test_muon_goes_as_that_of_torch() -> None:
    torch.manual_seed(0)
    ours = Network()
    theirs = copy.deepcopy(ours)
    settings = {"lr": 0.02, "weight_decay": 0.1}
    optimizer = MuonAdamW(ours, OptimConfig(**settings), torch.bfloat16)
    names = dict(theirs.named_parameters())
    matrices = [names[name] for name in sorted(MATRICES)]
    before = {name: value.detach().clone() for name, value in names.items()}
    other = torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw", **settings)
    for _ in range(5):
        for name, parameter in ours.named_parameters():
            parameter.grad = torch.randn_like(parameter)
            names[name].grad = parameter.grad.clone()
        optimizer.step()
        other.step()
    for name, parameter in ours.named_parameters():
        if name in MATRICES:
            # torch rounds before it divides by the norm, and not after.
            difference = (parameter - names[name]).detach().norm()
            assert float(difference / (names[name] - before[name]).detach().norm()) < 0.02, name


def test_what_is_not_a_matrix_of_a_block_goes_as_with_adamw() -> None:
    made, optimizer = network()
    other = copy.deepcopy(made)
    plain = build_optimizer(other, OptimConfig(lr=0.01))
    for one, two in zip(made.parameters(), other.parameters(), strict=True):
        one.grad = torch.randn_like(one)
        two.grad = one.grad.clone()
    optimizer.step()
    plain.step()
    same = {
        name
        for (name, one), two in zip(made.named_parameters(), other.parameters(), strict=True)
        if torch.equal(one, two)
    }
    assert {name for name, _ in made.named_parameters()} - same == MATRICES


def test_a_training_with_muon_learns_and_goes_on_exactly() -> None:
    made, optimizer = network()
    first = train(made, optimizer, range(1))
    assert train(made, optimizer, range(1, 200)) < 0.1 * first
    kept = {name: value.clone() for name, value in optimizer_tensors(optimizer, made).items()}
    half = copy.deepcopy(made.state_dict())
    assert {name.partition("/")[2] for name in kept if name.startswith("momentum")} == (MATRICES)
    train(made, optimizer, range(200, 220))
    resumed, again = network(seed=1)
    resumed.load_state_dict(half)
    restore_optimizer(again, kept, resumed)
    train(resumed, again, range(200, 220))
    reloaded, third = network(seed=2)
    reloaded.load_state_dict(half)
    restore_optimizer(third, kept, reloaded)
    third.load_state_dict(third.state_dict())  # as accelerate does
    train(reloaded, third, range(200, 220))
    for name, value in made.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
        assert torch.equal(value, reloaded.state_dict()[name]), name


def test_neither_goes_on_with_the_state_of_the_other() -> None:
    made, muon = network()
    train(made, muon, range(2))
    plain = build_optimizer(made, OptimConfig())
    train(made, plain, range(2))
    for one, other in ((muon, plain), (plain, muon)):
        with pytest.raises(ValueError, match="lack a part of their state"):
            restore_optimizer(one, optimizer_tensors(other, made), made)


def test_a_network_without_blocks_is_trained_by_adamw_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lstm = nn.LSTM(2, 2)
    assert isinstance(build_optimizer(lstm, OptimConfig(algorithm="muon")), torch.optim.AdamW)
    assert caplog.messages == ["muon: LSTM has no matrix in blocks: all is AdamW's"]
