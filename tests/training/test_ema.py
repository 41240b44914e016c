"""The average is what its formula says, comes back bit-equal, and never leaks into training."""

import pytest
import torch
from torch import Tensor, nn

from audiogen.training.loop.ema import EMA


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2, dtype=torch.bfloat16)
    )
    module.register_buffer("scratch", torch.zeros(2), persistent=False)
    return module


def drift(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter.dtype))


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_decay_warms_up() -> None:
    ema = EMA(network(), 0.99)
    assert [ema.decay_at(step) for step in (0, 8, 10_000)] == [0.1, 0.5, 0.99]


def test_update_is_the_formula_in_float32() -> None:
    module = network()
    ema = EMA(module, 0.6)
    expected = {k: v.float() for k, v in snapshot(module).items() if v.is_floating_point()}
    for step in range(6):
        drift(module, step)
        ema.update(step)
        decay = min(0.6, (1 + step) / (10 + step))
        present = module.state_dict()
        expected = {k: decay * v + (1 - decay) * present[k].float() for k, v in expected.items()}
    assert ema.tensors().keys() == expected.keys()
    assert "scratch" not in expected
    for name, value in ema.tensors().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)


def test_a_constant_stays_bit_equal() -> None:
    module = network()
    ema = EMA(module, 0.9)
    for step in range(50):
        ema.update(step)
    for name, value in ema.tensors().items():
        assert torch.equal(value, module.state_dict()[name].float())


def check_applied_and_fail(ema: EMA, module: nn.Module) -> None:
    with ema.applied(module):
        for name, value in ema.tensors().items():
            inside = module.state_dict()[name]
            assert torch.equal(inside, value.to(inside.dtype))
        raise KeyError("stop")


def test_applied_gives_the_average_inside_and_the_weights_back_after_an_error() -> None:
    module = network()
    ema = EMA(module, 0.9)
    drift(module, 1)
    before = snapshot(module)
    with pytest.raises(KeyError):
        check_applied_and_fail(ema, module)
    after = module.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not torch.equal(before["0.weight"], ema.tensors()["0.weight"])


def test_state_goes_out_and_in_exactly() -> None:
    ema, other = EMA(network(0), 0.9), EMA(network(1), 0.9)
    for name, value in other.tensors().items():
        value.copy_(ema.tensors()[name])
    fresh = network(2)
    other.copy_to(fresh)
    for name, value in ema.tensors().items():
        assert torch.equal(other.tensors()[name], value)
        assert torch.equal(fresh.state_dict()[name], value.to(fresh.state_dict()[name].dtype))
    assert ema.tensors()["0.weight"].data_ptr() != other.tensors()["0.weight"].data_ptr()
