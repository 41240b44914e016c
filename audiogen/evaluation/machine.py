"""What figures are measured on."""

from __future__ import annotations

import platform
from pathlib import Path

import torch


def processor_name() -> str:
    """The GPU, or the processor with the instructions that torch uses of it: `AMD EPYC, AVX2`."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    name = _cpuinfo("model name") or platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def _cpuinfo(field: str) -> str:
    """What Linux says of the first core; empty elsewhere."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith(field)]
    return found[0] if found else ""
