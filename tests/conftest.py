"""What every test starts from: no network, few threads, fixed seeds, two clips, real sounds."""

import math
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path

THREADS = min(2, os.cpu_count() or 1)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
if "PYTEST_XDIST_WORKER" in os.environ:  # which inherits the variables of the process that spreads
    os.environ["OMP_NUM_THREADS"] = "1"
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


def pytest_xdist_auto_num_workers() -> int:
    """As many workers as this process may use processors, which may be fewer than there are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, _cores_of_container()))


def _cores_of_container() -> int:
    """How many processors' time the control group of a container gives, of either version."""
    root = Path("/sys/fs/cgroup")
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        if all((root / name).is_file() for name in names):
            quota, period = " ".join((root / name).read_text() for name in names).split()
            if quota not in ("max", "-1"):
                return math.ceil(int(quota) / int(period))
    return os.cpu_count() or 1


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


@pytest.fixture
def _toys_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the toys: these are the two lines."""
    from toys import ToyCodec, ToyCodecConfig, ToyGenerator, ToyGeneratorConfig  # noqa: PLC0415

    from audiogen.codecs import CODECS  # noqa: PLC0415
    from audiogen.generators import GENERATORS  # noqa: PLC0415

    monkeypatch.setitem(CODECS, ToyCodecConfig, ToyCodec)
    monkeypatch.setitem(GENERATORS, ToyGeneratorConfig, ToyGenerator)


@pytest.fixture
def fake_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pipelines read prompts without the real text encoder."""
    from fake_text import FakeTextEncoder  # noqa: PLC0415

    monkeypatch.setattr("audiogen.pipeline.TextEncoder", FakeTextEncoder)


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a small untrained model and returns its folder."""
    from audiogen.codecs import build_codec  # noqa: PLC0415
    from audiogen.codecs.vae import VAEConfig  # noqa: PLC0415
    from audiogen.conditioning.text import TEXT_DIM, TextConfig  # noqa: PLC0415
    from audiogen.experiment import ModelConfig  # noqa: PLC0415
    from audiogen.generators import ODESamplingConfig, build_generator  # noqa: PLC0415
    from audiogen.generators.ode.flow import FlowConfig  # noqa: PLC0415
    from audiogen.generators.ode.infill import InfillConfig  # noqa: PLC0415
    from audiogen.model_folder import Model  # noqa: PLC0415
    from audiogen.pipeline import Pipeline  # noqa: PLC0415

    def make(
        *,
        infill: bool = True,
        audio_channels: int = 1,
        controls: Mapping[str, tuple[float, float]] | None = None,
        trunk: str = "fourier",
    ) -> Path:
        codec = VAEConfig.model_validate(
            {
                "sample_rate": 16000,
                "audio_channels": audio_channels,
                "hop_length": 512,
                "latent_channels": 4,
                "trunk": {
                    "type": trunk,
                    "n_fft": 512,
                    "stft_hop": 128,
                    "num_bands": 24,
                    "encoder_dim": 24,
                    "encoder_depth": 1,
                    "decoder_dim": 24,
                    "decoder_depth": 1,
                },
            }
        )
        tasks = InfillConfig() if infill else InfillConfig(spans=0, prefix=0, suffix=0)
        config = ModelConfig(
            name="small",
            codec=codec,
            text=TextConfig(),
            generator=FlowConfig(
                dim=32, depth=2, num_heads=2, infill=tasks, conditioner={"controls": controls or {}}
            ),
            sample=ODESamplingConfig(steps=3, guidance_scale=2.0),
            clip_seconds=1.0,
        )
        torch.manual_seed(0)
        built = build_codec(codec)
        window = built.spec.num_frames(1.0)
        generator = build_generator(config.generator, built.spec, TEXT_DIM, window)
        for parameter in generator.parameters():  # zero gates would hide what is behind them
            if not bool(parameter.any()):
                torch.nn.init.normal_(parameter, std=0.05)
        folder = tmp_path_factory.mktemp("model")
        model = Model(config=config, codec=built, generator=generator)
        Pipeline(model).save_pretrained(folder / "generator" / "model")
        return folder

    return make


@pytest.fixture(scope="session")
def model(make_model: Callable[..., Path]) -> Path:
    """Return the run folder of a small untrained mono model at 16 kHz, its window one second."""
    return make_model()


@pytest.fixture(scope="session")
def controlled_model(make_model: Callable[..., Path]) -> Path:
    """Return the run folder of such a model that has the controls brightness and density."""
    return make_model(controls={"brightness": (200.0, 6000.0), "density": (0.0, 8.0)})
