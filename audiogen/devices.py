"""Which device models run on."""

from __future__ import annotations

import os
from pathlib import Path

import torch

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
"""Of Linux, where a driver of NVIDIA's is loaded."""
_HIDING = ("", "-1")
"""Values of CUDA_VISIBLE_DEVICES that hide all GPUs."""
_YES = ("1", "true", "yes", "on", "y", "t")


def usable_device(name: str = "auto") -> torch.device:
    """Return the device of a name.

    Args:
        name: "auto" is the GPU where torch has one, and the CPU elsewhere or where
            ACCELERATE_USE_CPU asks for it; others are those of torch, such as "cpu" or "cuda:1".

    Raises:
        ValueError: torch has no such device, or there is an NVIDIA GPU that it cannot use: a
            training that went on without it would take days, and nobody would know why.
    """
    if name == "auto":
        if os.environ.get("ACCELERATE_USE_CPU", "").lower() in _YES:
            return torch.device("cpu")
        found = torch.accelerator.current_accelerator(check_available=True)
        if found is None and _has_unusable_gpu():
            raise ValueError(
                f"there is an NVIDIA GPU that torch {torch.__version__} cannot use\n"
                "  `nvidia-smi` tells whether the driver works; with a CPU build of torch remove"
                " .venv and run `make setup`\n"
                "  to work without it: --device cpu, or ACCELERATE_USE_CPU=1 for all commands"
            )
        return found or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"device {name}: torch {torch.__version__} cannot use it ({reason:.120s})\n"
            "  take auto, cpu, or one of those that `audiogen doctor` lists"
        ) from None
    return device


def finish(device: torch.device) -> None:
    """Wait until a device has done what it was given, so that a clock can be read."""
    if device.type != "cpu" and torch.accelerator.is_available():
        torch.accelerator.synchronize(device)


def _has_unusable_gpu() -> bool:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in _HIDING
    return NVIDIA_DRIVER.exists() and not hidden
