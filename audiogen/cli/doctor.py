"""`audiogen doctor`: what is installed, what this machine offers, and how to mend what is wrong."""
# ruff: noqa: PLC0415 - a check imports what it is about, so that a broken package fails its check

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import typer

installation = typer.Typer()

Verdict = Literal["ok", "warn", "fail"]

PACKAGES = ("accelerate", "librosa", "pyloudnorm", "safetensors", "soxr", "tokenizers")
OLDEST_MP3 = (1, 1)  # libsndfile reads MP3 from 1.1 on
DISK_GB = (1.0, 5.0)  # a run of the laptop recipe writes under 1 GB; the cluster's far more
MEMORY_GB = (3.0, 6.0)  # the laptop recipe peaks below 6 GB
SET_UP = "run `make setup`"


@dataclass(frozen=True)
class Check:
    """What was found, the verdict, and how to mend it when that is not ok."""

    found: str
    verdict: Verdict = "ok"
    mend: str = ""


@installation.command()
def doctor() -> None:
    """Check the installation and this machine.

    Says how to mend what is wrong; the exit code is 1 when something fails.
    """
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    checks = run_checks()
    for name, check in checks.items():
        typer.secho(describe(name, check), fg=colours[check.verdict])
    if any(check.verdict == "fail" for check in checks.values()):
        raise typer.Exit(1)


def run_checks(folder: Path | None = None) -> dict[str, Check]:
    """Run every check; `folder` is where runs are to be written, by default the current one."""
    place = folder or Path.cwd()
    checks: dict[str, Callable[[], Check]] = {
        "python": check_python,
        "torch": check_torch,
        "threads": check_threads,
        "device": check_device,
        "bf16": check_bf16,
        "torchaudio": check_torchaudio,
        "sound files": check_sound_files,
        "packages": check_packages,
        "text encoder": check_text_encoder,
        "wandb": check_wandb,
        "disk": lambda: check_disk(place),
        "memory": check_memory,
        "writing": lambda: check_writing(place),
    }
    return {name: _guarded(check) for name, check in checks.items()}


def describe(name: str, check: Check) -> str:
    """Return a check as one line, and a second one that says how to mend it."""
    line = f"{check.verdict:<5} {name:<13} {check.found}"
    return f"{line}\n{'':<20}-> {check.mend}" if check.mend else line


def _guarded(check: Callable[[], Check]) -> Check:
    """Run a check; whatever it stumbles over is its finding, for the rest must still be said."""
    try:
        return check()
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        return Check(f"{type(error).__name__}: {first}", "fail", SET_UP)


def check_python() -> Check:
    """Which Python runs; an older one than audiogen needs cannot import this."""
    return Check(f"{sys.version.split()[0]} at {sys.executable}")


def check_torch() -> Check:
    """Torch imports, and its build fits the machine."""
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    found = f"{torch.__version__}, {build} build"
    if torch.version.cuda is None and Path("/proc/driver/nvidia/version").exists():
        mend = "an NVIDIA GPU is here: remove .venv and run `make setup`"
        return Check(found, "warn", mend)
    if torch.version.cuda and not torch.cuda.is_available():
        mend = "no GPU is usable; `nvidia-smi` shows why, a CPU build would be smaller"
        return Check(found, "warn", mend)
    return Check(found)


def check_threads() -> Check:
    """How many threads compute, and how they wait for one another."""
    import torch

    variables = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
    given = [f"{name}={os.environ[name]}" for name in variables if name in os.environ]
    return Check(", ".join([f"{torch.get_num_threads()} of {os.cpu_count()} processors", *given]))


def check_device() -> Check:
    """What training and sampling will run on."""
    import torch

    if not torch.cuda.is_available():
        return Check(f"CPU, {os.cpu_count()} cores")
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    names = ", ".join(f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GB)" for gpu in gpus)
    return Check(names)


def check_bf16() -> Check:
    """Whether the device multiplies bf16 matrices in hardware; training is slower without."""
    import torch

    from audiogen.training.distributed.launch import bf16_hardware

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Check(bf16_hardware(device) or "no, fp32 is used")


def check_torchaudio() -> Check:
    """Torchaudio imports beside this torch."""
    try:
        import torchaudio
    except (ImportError, OSError) as error:
        from audiogen.storage import first_line

        mend = "remove .venv/.setup and run `make setup`, which checks torchaudio's extension"
        return Check(first_line(error), "fail", mend)
    return Check(torchaudio.__version__)


def check_sound_files() -> Check:
    """Soundfile is there with a libsndfile that reads the formats of intake."""
    import soundfile

    library = soundfile.__libsndfile_version__
    found = f"soundfile {soundfile.__version__}, libsndfile {library}"
    if tuple(int(part) for part in library.split(".")[:2]) < OLDEST_MP3:
        mend = "MP3 needs libsndfile 1.1 or newer: `pip install --force-reinstall soundfile`"
        return Check(found, "warn", mend)
    return Check(found)


def check_packages() -> Check:
    """The other packages that audiogen runs on are installed."""
    versions, missing = [], []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        found = f"missing: {', '.join(missing)}"
        return Check(found, "fail", SET_UP)
    return Check(", ".join(versions))


def check_text_encoder() -> Check:
    """The text encoder's files are found and are the expected ones."""
    from audiogen.conditioning.text import MiniLMConfig, find_text_encoder

    try:
        folder = find_text_encoder(MiniLMConfig())
    except (FileNotFoundError, ValueError) as error:
        first, *rest = str(error).splitlines()
        mend = " ".join(line.strip() for line in rest) or SET_UP
        return Check(first, "fail", mend)
    return Check(f"{folder} (sha256 right)")


def check_wandb() -> Check:
    """Where wandb would send its records."""
    version = importlib.metadata.version("wandb")
    mode = os.environ.get("WANDB_MODE", "used when a recipe sets train.wandb")
    return Check(f"{version}, {mode}")


def check_disk(folder: Path) -> Check:
    """There is room for a run."""
    free = shutil.disk_usage(folder).free / 1e9
    found = f"{free:.1f} GB free in {folder}"
    return _by_amount(found, free, DISK_GB, "free some room, or set run_dir elsewhere")


def check_memory() -> Check:
    """There is memory for the laptop recipe, also within a container's limit."""
    total = memory_bytes() / 1e9
    mend = "halve train.codec.batch_size and train.generator.batch_size"
    return _by_amount(f"{total:.1f} GB", total, MEMORY_GB, mend)


def memory_bytes() -> int:
    """Return the machine's memory, or the container's limit where that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # cgroup v2, v1
        limit = Path("/sys/fs/cgroup") / name
        text = limit.read_text(encoding="ascii").strip() if limit.is_file() else "max"
        if text != "max":
            total = min(total, int(text))
    return total


def check_writing(folder: Path) -> Check:
    """Runs can be written."""
    place = folder / "runs"
    place = place if place.is_dir() else folder
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"audiogen")
    except OSError as error:
        found = f"{place}: {error.strerror}"
        mend = "set run_dir to a folder of yours"
        return Check(found, "fail", mend)
    return Check(str(place))


def _by_amount(found: str, amount: float, limits: tuple[float, float], mend: str) -> Check:
    """Judge an amount: below the first limit it fails, below the second it warns."""
    if amount >= limits[1]:
        return Check(found)
    return Check(found, "warn" if amount >= limits[0] else "fail", mend)
