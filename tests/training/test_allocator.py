"""Memory that a training step frees is there for the next one."""

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import torch
from audiogen.training.allocator import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def step():
    kept = [torch.ones(1 << 20) for _ in range(10)]  # 40 MB
    return sum(float(part[0]) for part in kept)

assert keep_freed_memory()
step()
before = faults()
for _ in range(5):
    step()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is told")
def test_steps_after_the_first_take_no_memory_from_the_system() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STEPS], capture_output=True, text=True, check=True, timeout=120
    )
    assert int(done.stdout) < 51_200 / 4  # five steps write 51,200 pages
