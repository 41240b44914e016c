"""Peak memory of `prepare` and of a short training on one long recording, beside a short one.

    python tools/bench/memory.py --hours 3
    python tools/bench/memory.py --hours 0.5 --recipe recipes/diffusion.yaml

Each command runs in a process of its own. What the long recording takes more than the short one is
what reading, measuring and encoding it costs; the trainer's own memory is in both.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

RATE = 44_100
SHORT_SECONDS = 20.0
SHORTS = 6  # files beside the long one, so that something can be held out


def write_long(path: Path, seconds: float) -> None:
    """Write noise of changing level, block by block; only the level tells the blocks apart."""
    random = np.random.default_rng(len(path.name))
    second = 0.1 * random.standard_normal((RATE, 2)).astype(np.float32)
    with soundfile.SoundFile(path, "w", RATE, 2, subtype="PCM_16") as file:
        for level in random.uniform(0.2, 1, size=round(seconds)):
            file.write(np.roll(second, random.integers(RATE), axis=0) * np.float32(level))


def peak_mb(arguments: list[str], *, show: bool) -> float:
    """Run a command of audiogen; return the largest resident set of its processes in MB.

    Raises:
        RuntimeError: the command failed.
    """
    command = [sys.executable, "-m", "audiogen", *arguments]
    output = None if show else subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=output, stderr=output)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}")
    return usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def main() -> None:
    """Parse, write, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--recipe", default="recipes/tiny/diffusion.yaml")
    parser.add_argument("--show", action="store_true", help="let the commands print")
    given, settings = parser.parse_known_args()  # the rest are settings, such as seed=1
    print(f"{'':12}{'prepare':>12}{'train':>12}  seconds")
    for name, seconds in (("short", SHORT_SECONDS), ("long", given.hours * 3600)):
        with tempfile.TemporaryDirectory() as temporary:
            data = Path(temporary) / "data"
            data.mkdir()
            write_long(data / "the_recording.wav", seconds)
            for number in range(SHORTS):
                write_long(data / f"{'short' * (number + 1)}.wav", SHORT_SECONDS)
            places = [f"data.path={data}", f"run_dir={Path(temporary) / 'run'}", *settings]
            begun = time.perf_counter()
            peaks = [
                peak_mb([command, given.recipe, *places, "--i-own-these"], show=given.show)
                for command in ("prepare", "train")
            ]
            took = time.perf_counter() - begun
        print(f"{name:12}{peaks[0]:9.0f} MB{peaks[1]:9.0f} MB{took:9.0f}")


if __name__ == "__main__":
    main()
