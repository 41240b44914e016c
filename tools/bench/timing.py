"""How the benchmarks time things side by side, and what they say of the machine."""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from audiogen.devices import usable_device
from audiogen.evaluation.machine import processor_name

Key = TypeVar("Key", bound=Hashable)


def alternate(runs: Mapping[Key, Callable[[], object]], rounds: int) -> dict[Key, list[float]]:
    """Seconds of each run in each round, after one round that does not count.

    The order turns from round to round, so that what slows the machine slows all of them.
    """
    times: dict[Key, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name in runs if number % 2 else reversed(list(runs)):
            before = time.perf_counter()
            runs[name]()
            if number:
                times[name].append(time.perf_counter() - before)
    return times


def machine(*packages: str) -> dict[str, Any]:
    """What the figures were measured on and with, by the versions of `packages` too."""
    return {
        "processor": processor_name(usable_device()),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": [round(load, 1) for load in os.getloadavg()],
        **{name: importlib.import_module(name).__version__ for name in ("torch", *packages)},
    }


def write_figures(path: Path, tree: Mapping[str, Any]) -> None:
    """Write figures as JSON; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
