"""What figures are measured on."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

CPU = torch.device("cpu")


def processor_name(device: torch.device = CPU) -> str:
    """The GPU of a device, or the processor with what torch uses of it: `AMD EPYC, AVX2`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")  # of Linux
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = next(filter(None, [*names, platform.processor(), platform.machine()]), "a processor")
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"
