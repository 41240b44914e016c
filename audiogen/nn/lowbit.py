"""Copies of networks for inference whose weights are quicker to read.

A network that makes one step at a time reads all of its weights for a few multiplications each, so
that its speed is that of the memory. These copies keep weights in fewer bits, and in the order in
which a kernel reads them fastest. Sums are in float32; inputs and outputs stay as they were.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.machine import has_fast_mkl

WeightKind = Literal["fp32", "bf16", "int8"]

PACKED_FOR_ROWS = 16
"""Rows that oneDNN packs weights for: the layout for one row alone is slow for two and more."""
PANEL_COLUMNS = 64
"""Columns of a matrix that a row is multiplied with at a time: their sums fit into registers."""
INT8_KERNEL_ROWS = 16
"""Most rows for which the int8 kernel is taken; for more, products in bf16 are quicker."""


def with_weights(module: nn.Module, kind: WeightKind) -> nn.Module:
    """Return a copy of `module` for inference, with the same interface.

    Its linear layers have weights of the `kind`; all else is copied as it is, recurrent layers
    too. The copy stays on the device of `module`, has no gradients and cannot be saved.

    Args:
        module: stays as it is; its linear layers are of float32.
        kind: fp32, as they are, but packed where that is quicker; bf16; or int8 with a scale per
            output channel (the activations are not quantised, so that no item depends on its
            batch).

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in ("fp32", "bf16", "int8"):
        raise ValueError(f"weights: expected fp32, bf16 or int8, got {kind!r}")
    # deepcopy takes what stands here instead of copying it.
    replaced: dict[int, Any] = {
        id(layer): _replacement(layer, kind)
        for layer in module.modules()
        if type(layer) is nn.Linear
    }
    found: nn.Module = copy.deepcopy(module, replaced)
    return found.eval().requires_grad_(False)


def _replacement(layer: nn.Linear, kind: WeightKind) -> nn.Module:
    if kind == "int8":
        return Int8Linear(layer)
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32
    if layer.weight.device.type != "cpu" or not _can_pack(dtype):
        return CastLinear(layer, dtype)
    if kind == "bf16":
        return PackedLinear(layer, dtype)
    return TransposedLinear(layer) if has_fast_mkl() else RowLinear(layer)


def _can_pack(dtype: torch.dtype) -> bool:
    """Whether the oneDNN kernels that torch.compile calls are there, for `dtype`."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class CastLinear(nn.Module):
    """A linear layer with weights of another type; any device."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        self.register_buffer("weight", layer.weight.detach().to(dtype), persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias).to(x.dtype)


class PackedLinear(nn.Module):
    """A linear layer with weights in oneDNN's own order; CPU."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self._bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        # Not a buffer: an opaque tensor can neither be copied nor saved.
        self._packed = torch.ops.mkldnn._reorder_linear_weight(
            layer.weight.detach().to(dtype), PACKED_FOR_ROWS
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(self.dtype), self._packed, self._bias, "none", [], ""
        )
        return y.to(x.dtype)


class TransposedLinear(PackedLinear):
    """A packed float32 layer that goes another way for one row or two: MKL's, on Intel processors.

    With weights (in, out) it comes near to the speed of the memory there, and nowhere else. The
    price is a second copy of the weights.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer, torch.float32)
        self._columns = layer.weight.detach().t().contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) > 2:
            return super().forward(x)
        y = rows @ self._columns
        return (y if self._bias is None else y.add_(self._bias)).view(*x.shape[:-1], -1)


class RowLinear(PackedLinear):
    """A packed float32 layer that takes another way for a single row.

    The product of a row and a matrix is a weighted sum of the matrix's rows: what an embedding bag
    computes. Its kernel asks for rows ahead of time, and comes near to the speed of the memory
    where those for matrix products do not. Columns are cut into panels that lie one behind the
    other, each read from end to end into the sums of its own bag, and bags are shared among
    threads. The price is a second copy of the weights.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer, torch.float32)
        out, width = layer.weight.shape
        self._out = out
        self._panels = -(-out // PANEL_COLUMNS)
        weight = F.pad(layer.weight.detach(), (0, 0, 0, self._panels * PANEL_COLUMNS - out))
        panels = weight.reshape(self._panels, PANEL_COLUMNS, width).transpose(1, 2)
        self._rows = panels.reshape(-1, PANEL_COLUMNS).contiguous()
        self._indices = torch.arange(len(self._rows))
        self._offsets = torch.arange(self._panels) * width

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        if x.numel() != x.shape[-1]:
            return super().forward(x)
        factors = x.reshape(1, -1).expand(self._panels, -1).reshape(-1)
        sums: Tensor = torch.embedding_bag(
            self._rows, self._indices, self._offsets, False, 0, False, factors, False
        )[0]
        y = sums.view(-1)[: self._out].view(*x.shape[:-1], -1)
        return y if self._bias is None else y.add_(self._bias)


class Int8Linear(nn.Module):
    """A linear layer with weights from -127 to 127 and a float32 scale per output channel."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach().float()
        # No buffers: a module finds those more slowly than its own attributes.
        self.scale = weight.abs().amax(dim=1).clamp(min=1e-12) / 127
        self.weight = (weight / self.scale[:, None]).round().to(torch.int8)
        self.bias = None if layer.bias is None else layer.bias.detach().clone()
        # The kernel rounds its own scale to bf16, so that ours comes after it.
        self._ones = torch.ones_like(self.scale, dtype=torch.bfloat16)
        on_cpu = weight.device.type == "cpu"
        self.has_kernel = on_cpu and hasattr(torch.ops.aten, "_weight_int8pack_mm")

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        rows = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)
        if self.has_kernel and len(rows) <= INT8_KERNEL_ROWS:
            y = torch.ops.aten._weight_int8pack_mm(rows, self.weight, self._ones)
        else:
            y = F.linear(rows, self.weight.to(torch.bfloat16))
        y = y * self.scale if self.bias is None else torch.addcmul(self.bias, y, self.scale)
        return y.view(*x.shape[:-1], -1).to(x.dtype)
