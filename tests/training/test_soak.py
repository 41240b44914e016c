"""A long training needs no more memory, files or threads at its end than early on."""

import os
import threading
from pathlib import Path

import pytest
from resuming import train

STEPS, EARLY = 4000, 1000


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.nightly
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize("family", ["flow", "rvq"])
def test_memory_files_and_threads_stay_bounded(family: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int, int]] = []

    def look(step: int) -> None:
        if step in {EARLY, STEPS - 1}:
            files = len(list(Path("/proc/self/fd").iterdir()))
            seen.append((resident_bytes(), files, threading.active_count()))

    settings = [f"train.{stage}.steps={STEPS}" for stage in ("codec", "generator")]
    train(tmp_path, family, *settings, "train.checkpoint_every=50", hook=look)
    (early, *early_counts), (late, *late_counts) = seen
    print(family, f"{early / 1e6:.0f} MB at step {EARLY}, {late / 1e6:.0f} MB at the end")  # noqa: T201
    assert late < 1.02 * early
    assert late_counts == early_counts
