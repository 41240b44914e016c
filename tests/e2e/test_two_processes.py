"""Two processes on a CPU train one model."""

import subprocess
import sys
from pathlib import Path

import pytest

from audiogen.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_two_processes_share_a_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "-m",
        "audiogen",
        "train",
        str(ROOT / "recipes" / "tiny" / "diffusion.yaml"),
        f"run_dir={run}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert Pipeline.from_pretrained(run)(["rain"], seconds=1.0, seeds=[0]).shape == (1, 1, 16000)
