"""The state of an optimizer as tensors by parameter name, for a checkpoint, and back again."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.optim import Optimizer

from audiogen.training.distributed.sharding import split_like

_ADAM = {"step", "exp_avg", "exp_avg_sq"}
_MUON = {"momentum"}


def optimizer_tensors(optimizer: Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """Return the state of the optimizer of `module` as {"<key>/<parameter name>": tensor}.

    The tensors are live, not copies. A parameter that was never updated has none.
    """
    return {
        f"{key}/{name}": value
        for name, parameter in module.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], module: nn.Module
) -> None:
    """Give the optimizer of `module` the state that `optimizer_tensors` returned.

    Learning rate, betas and weight decay are not part of it: they come from the configuration.

    Raises:
        ValueError: the tensors name parameters, or have shapes, that the module does not have, or
            are of another kind of optimizer.
    """
    parameters = dict(module.named_parameters())
    state: dict[Tensor, dict[str, Tensor]] = {}
    for full_name, tensor in tensors.items():
        key, _, name = full_name.partition("/")
        parameter = parameters.get(name)
        if parameter is None or (key != "step" and tensor.shape != parameter.shape):
            raise ValueError(
                f"restore_optimizer: {full_name} has shape {tuple(tensor.shape)}, the parameter"
                f" {'does not exist' if parameter is None else tuple(parameter.shape)}"
            )
        value = tensor if key == "step" else split_like(tensor, parameter)
        state.setdefault(parameter, {})[key] = value.to(parameter.device, copy=True)
    for group in optimizer.param_groups:
        needed = _ADAM if "betas" in group else _MUON
        if any(state[one].keys() != needed for one in group["params"] if one in state):
            raise ValueError("restore_optimizer: some parameters lack a part of their state")
    optimizer.state.clear()
    optimizer.state.update(state)
