"""Train the token codec on both trunks for the same time, and compare what came of it.

    python tools/bench/trunks.py SOUNDS --seconds 300

Both are recipes/rvq.yaml, with the same bottleneck (and so bitrate), losses, batches and learning
rate; one has the Fourier trunk, the other the strided Snake network of DAC. Shorter trainings of
each are timed first, to know how many steps fit into the time. Distances are of held-out
recordings.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "rvq.yaml"
TRUNKS = {"fourier": (), "convnet": ("codec.trunk.type=convnet",)}
PROBE_STEPS = 4
PROBE_SHARE = 0.2
"""Of the time that the second probe takes, about."""
FIGURES = {"mel_distance": "mel distance (dB)", "stft_distance": "STFT distance",
           "si_sdr_db": "SI-SDR (dB)"}  # fmt: skip


def audiogen(*words: str) -> None:
    """Run a command of audiogen; its output is shown when it fails."""
    command = [sys.executable, "-m", "audiogen", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench: {' '.join(command)} failed\n{done.stdout}{done.stderr}")


def settings(sounds: Path, run: Path, trunk: str, steps: int, batch_size: int) -> list[str]:
    """The recipe with a number of steps, and a warm-up in proportion."""
    return [
        f"data.path={sounds}",
        f"run_dir={run}",
        "reuse=false",
        "train.demo_every=1000000",
        "train.checkpoint_every=1000000",
        f"train.codec.steps={steps}",
        f"train.codec.batch_size={batch_size}",
        "train.codec.adversarial_start=1",
        f"train.codec.optim.warmup_steps={max(1, steps // 20)}",
        *TRUNKS[trunk],
    ]


def train(sounds: Path, run: Path, trunk: str, steps: int, batch_size: int) -> float:
    """Train; return the seconds that it took, without preparation."""
    words = settings(sounds, run, trunk, steps, batch_size)
    audiogen("prepare", str(RECIPE), *words)
    before = time.perf_counter()
    audiogen("train", str(RECIPE), *words)
    return time.perf_counter() - before


def compare(sounds: Path, folder: Path, seconds: float, batch_size: int) -> list[dict[str, Any]]:
    """Train both trunks for about `seconds`, and evaluate them."""
    rows = []
    for trunk in TRUNKS:
        # Two lengths, so that start, demos and export are not taken for steps.
        short = train(sounds, folder / f"{trunk}-short", trunk, PROBE_STEPS, batch_size)
        more = 3 + round(PROBE_SHARE * seconds * PROBE_STEPS / short)
        longer = train(sounds, folder / f"{trunk}-longer", trunk, PROBE_STEPS + more, batch_size)
        per_step = max(1e-3, (longer - short) / more)
        steps = max(1, round((seconds - short) / per_step + PROBE_STEPS))
        run = folder / trunk
        took = train(sounds, run, trunk, steps, batch_size)
        audiogen("evaluate", str(run))
        found = json.loads((run / "evaluation" / "metrics.json").read_text("utf-8"))["codec"]
        rows.append({
            "trunk": trunk, "steps": steps, "seconds": took, "parameters": found["parameters"],
            "bits_per_second": found["bits_per_second"], **{key: found[key] for key in FIGURES},
        })  # fmt: skip
        print(line(rows[-1]), flush=True)
    return rows


def line(row: dict[str, Any]) -> str:
    """A row of the table as text."""
    figures = ", ".join(f"{name} {row[key]:.2f}" for key, name in FIGURES.items())
    return (
        f"{row['trunk']:8s} {row['parameters'] / 1e6:5.1f} M, {row['steps']:5d} steps in"
        f" {row['seconds']:.0f} s, {row['bits_per_second'] / 1000:.2f} kbit/s: {figures}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the figures where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sounds", type=Path)
    parser.add_argument("--seconds", type=float, default=300, help="of training, for each")
    parser.add_argument("--batch-size", type=int, default=8, help="16 needs 20 GB for the convnet")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        rows = compare(given.sounds.resolve(), Path(name), given.seconds, given.batch_size)
    if given.out is not None:
        machine = {
            "processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
            "torch": torch.__version__,
        }  # fmt: skip
        tree = {"machine": machine, "rows": rows}
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
