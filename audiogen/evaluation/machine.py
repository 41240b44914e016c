"""What figures are measured on."""

from __future__ import annotations

import platform
from pathlib import Path

import torch


def processor_name() -> str:
    """The GPU, or the processor with the instructions that torch uses of it: `AMD EPYC, AVX2`."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")  # of Linux
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = next(filter(None, [*names, platform.processor(), platform.machine()]), "a processor")
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"
