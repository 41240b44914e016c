"""What every test starts from: no network, few threads, fixed seeds, two clips, real sounds."""

import os
import random
from pathlib import Path

THREADS = min(2, os.cpu_count() or 1)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))  # read when torch is first imported
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "agg")

import numpy as np  # noqa: E402 - the variables above come first
import pytest  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
CLIP_RATE = 22_050  # Hz
CLIP_SECONDS = 1.0
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Give every test the same random numbers, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries that still use the global generator
    torch.manual_seed(0)


@pytest.fixture
def sine() -> Tensor:
    """One second of 440 Hz, (1, 22050) at 22.05 kHz, amplitude 0.5."""
    time = torch.arange(round(CLIP_SECONDS * CLIP_RATE)) / CLIP_RATE
    return 0.5 * torch.sin(2 * torch.pi * 440 * time)[None]


@pytest.fixture
def noise() -> Tensor:
    """One second of white noise, (1, 22050) at 22.05 kHz, standard deviation 0.1."""
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(1, round(CLIP_SECONDS * CLIP_RATE), generator=generator)


@pytest.fixture(scope="session")
def esc10() -> Path:
    """Return the folder of real recordings, ESC-10, or skip where it is not at hand."""
    folder = Path(os.environ.get("AUDIOGEN_ESC10", ROOT.parent / "shared" / "data" / "esc10"))
    if not (folder / "metadata.csv").is_file():
        pytest.skip(f"no ESC-10 at {folder}; AUDIOGEN_ESC10 may name its folder")
    return folder
