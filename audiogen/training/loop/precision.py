"""The choice between float32 and bfloat16, by a quick measurement where it is not obvious."""

from __future__ import annotations

import time
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["no", "bf16"]  # the words of accelerate's mixed_precision
PrecisionRequest = Literal["auto", "fp32", "bf16"]

PAYS_FROM = 1.5  # below this speed-up, float32's exactness is worth more
_ROUNDS = 8  # of each precision, in turn


def choose_precision(device: torch.device, requested: PrecisionRequest) -> tuple[Precision, str]:
    """Choose the precision of the forward pass and say why in one line.

    "auto" takes bf16 on a GPU that supports it. On a CPU it times a small MLP's forward and
    backward passes both ways (about a second; random state untouched) and takes bf16 when that
    is at least 1.5 times faster. The measurement may come out differently on another day or
    in another process: choose once per run, on the main process, and keep the answer in the run's
    state.

    Raises:
        ValueError: bf16 is asked of a GPU that cannot do it.
    """
    if requested == "fp32":
        return "no", "fp32: as asked"
    if device.type == "cuda":
        return _choose_on_gpu(requested)
    if requested == "bf16":
        return "bf16", "bf16: as asked"
    if device.type != "cpu":
        return "no", f"fp32: bf16 is not tried on {device.type}"
    speedup = measure_bf16_speedup()
    if speedup >= PAYS_FROM:
        return "bf16", f"bf16: {speedup:.1f}x faster than fp32 on this CPU"
    return "no", f"fp32: bf16 would be only {speedup:.1f}x as fast on this CPU"


def _choose_on_gpu(requested: PrecisionRequest) -> tuple[Precision, str]:
    name = torch.cuda.get_device_name()
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16", f"bf16: {'as asked' if requested == 'bf16' else f'supported by {name}'}"
    if requested == "bf16":
        raise ValueError(f"precision bf16: {name} does not support it; use precision fp32 or auto")
    return "no", f"fp32: {name} does not support bf16"


def measure_bf16_speedup() -> float:
    """Return how many times faster a small MLP trains in bf16 than in fp32 on this CPU."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((256, 512), (512, 1024), (1024, 512))  # input, and two weight matrices
    x, first, second = (torch.randn(shape, generator=generator) / 16 for shape in shapes)
    for tensor in (x, first, second):
        tensor.requires_grad_(True)

    def seconds(bf16: bool) -> float:
        start = time.perf_counter()
        _train_once(x, first, second, bf16)
        return time.perf_counter() - start

    for bf16 in (False, True):
        seconds(bf16)  # sets kernels up, which may take longer than all that follows
    rounds = [(seconds(bf16=False), seconds(bf16=True)) for _ in range(_ROUNDS)]
    return min(fp32 for fp32, _ in rounds) / min(bf16 for _, bf16 in rounds)


def _train_once(x: Tensor, first: Tensor, second: Tensor, bf16: bool) -> None:
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        out = torch.nn.functional.gelu(x @ first) @ second
    torch.autograd.grad(out.float().square().mean(), (x, first, second))
