"""A long recording takes no more memory than a short one, from intake to a trained generator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "tiny" / "diffusion.yaml"
RATE = 22_050
LONG_MINUTES, SHORT_MINUTES = 30, 1
FLAT_MB = 100
"""The long one is 318 MB as float32 alone, and held whole takes three times that."""

CHILD = """
import resource, sys
from pathlib import Path
import audiogen.training.preparation
from fake_text import FakeTextEncoder
from audiogen.experiment import load_config
from audiogen.training.stages import train

def peak() -> float:
    # Not ru_maxrss, which begins with what the parent of this process had.
    own = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    return max(int(own), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1e3

audiogen.training.preparation.TextEncoder = FakeTextEncoder
config = load_config(Path(sys.argv[1]), sys.argv[2:])
audiogen.training.preparation.prepare(config)
prepared = peak()
train(config)
print("peaks", prepared, peak())
"""


def record(path: Path, minutes: float) -> None:
    """Write noise of changing level, minute by minute, every third of which is silence."""
    random = np.random.default_rng(0)
    minute = 0.1 * random.standard_normal((60 * RATE, 2)).astype(np.float32)
    with soundfile.SoundFile(path, "w", RATE, 2, subtype="PCM_16") as file:
        for number in range(round(minutes)):
            level = 0 if number % 3 == 2 else random.uniform(0.2, 1)
            file.write(np.roll(minute, random.integers(RATE), axis=0) * np.float32(level))


def peaks(folder: Path, minutes: float) -> tuple[float, float]:
    """Peak memory in MB when a folder with such a recording is prepared, and then trained on."""
    data = folder / "data"
    data.mkdir(parents=True)
    record(data / "rain.wav", minutes)
    for number, name in enumerate(("sea", "wind", "fire")):
        noise = 0.1 * np.random.default_rng(number).standard_normal((2 * RATE, 2))
        soundfile.write(data / f"{name}.wav", noise, RATE)
    words = [f"data.path={data}", f"run_dir={folder / 'run'}", "data.i_own_these=true"]
    words += ["data.num_workers=0", "train.codec.steps=3", "train.generator.steps=3"]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(RECIPE), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    prepared, trained = done.stdout.split("peaks ")[1].split()
    return float(prepared), float(trained)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is told by Linux")
def test_half_an_hour_takes_as_much_memory_as_a_minute(tmp_path: Path) -> None:
    short, long = peaks(tmp_path / "short", SHORT_MINUTES), peaks(tmp_path / "long", LONG_MINUTES)
    for few, many in zip(short, long, strict=True):
        assert many < few + FLAT_MB, (short, long)
