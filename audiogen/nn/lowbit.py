"""Copies of networks for inference whose weights are in fewer bits, and so are read faster."""

from __future__ import annotations

import copy
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WeightKind = Literal["fp32", "bf16", "int8"]
AnyModule = TypeVar("AnyModule", bound=nn.Module)


def with_weights(module: AnyModule, kind: WeightKind) -> AnyModule:
    """Return `module` for inference, with the same interface and weights of a kind.

    For fp32 it is the module itself. For the others it is a copy whose linear layers have weights
    of the kind; all else is copied as it is, recurrent layers too. Inputs and outputs stay as they
    were. The copy stays on the device of `module`, has no gradients and cannot be saved. It takes
    the time of a few dozen steps, and is made anew each time: it cannot be of weights that have
    changed since.

    Args:
        module: stays as it is; its linear layers are of float32.
        kind: fp32; bf16; or int8 with a scale per output channel (the activations are not
            quantised, so that no item depends on its batch).
    """
    if kind == "fp32":
        return module
    # deepcopy takes what stands here instead of copying it.
    replaced: dict[int, Any] = {
        id(layer): LowbitLinear(layer, kind)
        for layer in module.modules()
        if type(layer) is nn.Linear
    }
    return copy.deepcopy(module, replaced).eval().requires_grad_(False)


def quantised(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers from -127 to 127 (out, in) int8, and the scale of each output (out,)."""
    scale = weight.abs().amax(dim=1).clamp(min=1e-12) / 127
    return (weight / scale[:, None]).round().to(torch.int8), scale


class LowbitLinear(nn.Module):
    """A linear layer with weights in bfloat16, or from -127 to 127 with a scale per output.

    It multiplies in bfloat16, which holds such whole numbers exactly.
    """

    def __init__(self, layer: nn.Linear, kind: Literal["bf16", "int8"]) -> None:
        super().__init__()
        weight = layer.weight.detach().float()
        self.scale: Tensor | None = None
        if kind == "int8":
            self.weight, self.scale = quantised(weight)
        else:
            self.weight = weight.bfloat16()
        self.bias = None if layer.bias is None else layer.bias.detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        y = F.linear(x.bfloat16(), self.weight.bfloat16())
        if self.scale is not None:
            y = y * self.scale
        if self.bias is not None:
            y = y + self.bias
        return y.to(x.dtype)
