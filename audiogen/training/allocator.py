"""Memory of a training on CPUs: what a step gives back stays with the process for the next one."""

from __future__ import annotations

import ctypes
import platform

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""Numbers of glibc's malloc.h."""
LARGEST = (1 << 31) - 1
FROM_HEAP = 32 << 20
"""Most bytes of what is not mapped on its own; glibc takes no higher number."""


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed; return whether it is glibc that allocates.

    A training step frees its activations and asks for the same again. By default glibc gives them
    back to the system, which clears every page anew.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = {MMAP_THRESHOLD: FROM_HEAP, TRIM_THRESHOLD: LARGEST, TOP_PAD: 64 << 20}
    answers = [mallopt(key, value) for key, value in wanted.items()]
    return all(answer == 1 for answer in answers)
