"""One process or two: the same model; and no process is left alone when another fails."""

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiogen.storage import read_tensors
from audiogen.training.checkpoint.folder import load_checkpoint
from audiogen.training.distributed.signals import EXIT_REQUEUE

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(Path(__file__).with_name("few_steps.py"))
STEPS = 50
NIGHTLY = pytest.mark.nightly
SHARDED = "train.parallel=fsdp"
FSQ = "codec.bottleneck={type: fsq, num_codebooks: 2, levels: [5, 4]}"
START_SECONDS = 60  # to import everything on a busy machine


def start(
    run: Path, family: str, *words: str, processes: int = 1, steps: int = STEPS
) -> "subprocess.Popen[str]":
    """Start few_steps.py, with torchrun where there are more processes."""
    joined = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    joined = joined if processes > 1 else []
    settings = [f"train.generator.steps={steps}", f"train.codec.steps={steps}"]
    return subprocess.Popen(
        [sys.executable, *joined, SCRIPT, str(run), family, *words, *settings],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: "subprocess.Popen[str]", seconds: float = 400) -> str:
    """Wait for a process that must succeed."""
    output, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, output[-3000:]
    return output


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Train in one process, once for each setting: what the tests compare with."""

    @functools.cache
    def trained(family: str, *words: str) -> Path:
        run = tmp_path_factory.mktemp("alone") / "run"
        finish(start(run, family, *words))
        return run

    return trained


def weights(run: Path) -> dict[str, Tensor]:
    """What the last checkpoint of a run holds, but for the optimizers."""
    newest = max(run.glob("*/checkpoints/step-*"))
    assert not list(newest.parent.glob("part-*"))
    tensors = load_checkpoint(newest).tensors
    assert "rng" not in tensors  # there is no random state to keep
    return {
        f"{group}/{name}": tensor.double()
        for group, named in tensors.items()
        if not group.endswith("optimizer")
        for name, tensor in named.items()
    }


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The worst tensor's largest difference, relative to its largest number."""
    assert one.keys() == other.keys()
    return max(
        float((one[k] - other[k]).abs().max() / one[k].abs().max().clamp_min(1e-9)) for k in one
    )


@pytest.mark.parametrize(
    "family",
    [
        *(pytest.param(f, marks=pytest.mark.slow) for f in ("flow", "autoregressive")),
        *(pytest.param(f, marks=NIGHTLY) for f in ("diffusion", "masked")),
    ],
)
def test_two_processes_train_the_generator_of_one(
    family: str, alone: Callable[..., Path], tmp_path: Path
) -> None:
    finish(start(tmp_path / "two", family, processes=2))
    found = [weights(run) for run in (alone(family), tmp_path / "two")]
    print(f"{family}: {largest_difference(*found):.1e}")  # noqa: T201 - a figure of docs/cluster.md
    assert largest_difference(*found) < 1e-5


@pytest.mark.parametrize(
    "family",
    [
        pytest.param("flow", marks=pytest.mark.slow),
        *(pytest.param(f, marks=NIGHTLY) for f in ("diffusion", "autoregressive", "masked")),
    ],
)
def test_processes_that_share_its_weights_train_the_generator_of_one(
    family: str, tmp_path: Path
) -> None:
    """FSDP2, with gradients added over micro-batches and blocks computed again."""
    words = ("train.generator.accumulate=2", "train.activation_checkpointing=true")
    finish(start(tmp_path / "one", family, *words))
    finish(start(tmp_path / "two", family, *words, SHARDED, processes=2))
    (saved,) = (tmp_path / "two").glob("*/checkpoints/step-*")
    assert len(list(saved.glob("generator-0000?-of-00002.safetensors"))) == 2
    found = largest_difference(weights(tmp_path / "one"), weights(tmp_path / "two"))
    print(f"{family}, split: {found:.1e}")  # noqa: T201 - a figure of docs/cluster.md
    assert found < 1e-5
    # What is given back is whole, and is the average.
    products = [read_tensors(tmp_path / name / "product.safetensors") for name in ("one", "two")]
    assert largest_difference(*products) < 1e-5
    average = load_checkpoint(saved).tensors["ema"]
    assert all(torch.equal(products[1][name], average[name]) for name in average)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param((), id="whole", marks=NIGHTLY),
        pytest.param((SHARDED,), id="split", marks=pytest.mark.slow),
    ],
)
def test_processes_train_with_muon_as_one(words: tuple[str, ...], tmp_path: Path) -> None:
    muon = "train.generator.optim.algorithm=muon"
    finish(start(tmp_path / "one", "autoregressive", muon))
    finish(start(tmp_path / "two", "autoregressive", muon, *words, processes=2))
    found = largest_difference(weights(tmp_path / "one"), weights(tmp_path / "two"))
    print(f"muon {words}: {found:.1e}")  # noqa: T201 - a figure of docs/cluster.md
    assert found < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "words", "steps"),
    [
        ("vae", (), STEPS),
        ("rvq", ("codec.trunk.wave_bins=0",), STEPS),
        ("rvq", (), 30),
        ("rvq", ("codec.trunk.wave_bins=0", FSQ), 30),
    ],
)
def test_two_processes_train_the_codec_of_one(
    family: str, words: tuple[str, ...], steps: int, tmp_path: Path
) -> None:
    """In float64: adversarial training blows float32's rounding up to 1e-3 in 50 steps.

    A codec with a path for waveforms blows up even float64's, from 1e-12 after 20 steps by a factor
    of two per step.
    """
    for processes in (1, 2):
        run = tmp_path / str(processes)
        finish(start(run, family, "double", *words, processes=processes, steps=steps))
    found = [weights(tmp_path / str(processes)) for processes in (1, 2)]
    print(f"{family}: {largest_difference(*found):.1e}")  # noqa: T201 - a figure of docs/cluster.md
    assert largest_difference(*found) < 1e-5


@pytest.mark.slow
def test_micro_batches_do_not_matter_either(alone: Callable[..., Path]) -> None:
    runs = alone("autoregressive"), alone("autoregressive", "train.generator.accumulate=4")
    assert largest_difference(*map(weights, runs)) < 1e-5


@pytest.mark.parametrize(
    ("before", "words", "after", "more_words"),
    [
        pytest.param(1, (), 2, (), marks=pytest.mark.slow),
        pytest.param(2, (), 1, (), marks=NIGHTLY),
        pytest.param(2, (SHARDED,), 1, (), marks=pytest.mark.slow),
        pytest.param(1, (), 2, (SHARDED,), marks=NIGHTLY),
        pytest.param(3, (SHARDED,), 2, (SHARDED,), marks=NIGHTLY),
    ],
)
def test_other_processes_go_on_with_a_run(
    before: int,
    words: tuple[str, ...],
    after: int,
    more_words: tuple[str, ...],
    alone: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """It is stopped by a signal, and ends as if nothing had been."""
    twelve = "train.generator.batch_size=12"
    stopped = start(tmp_path / "run", "flow", "usr1@60", twelve, *words, processes=before)
    stopped.communicate(timeout=400)
    # torchrun makes 1 of every code; a process started by itself gives its own.
    assert stopped.returncode == (EXIT_REQUEUE if before == 1 else 1)
    steps = [path.name for path in (tmp_path / "run").glob("*/checkpoints/step-*")]
    assert len(steps) == 1
    assert steps != [f"step-{STEPS:08d}"]
    finish(start(tmp_path / "run", "flow", twelve, *more_words, processes=after))
    whole = alone("flow", twelve)
    assert largest_difference(weights(tmp_path / "run"), weights(whole)) < 1e-5


@pytest.mark.parametrize("fault", ["term", "int"])
def test_a_signal_ends_training_with_a_checkpoint_and_the_code_for_requeue(
    fault: str, tmp_path: Path
) -> None:
    process = start(tmp_path, "flow", f"{fault}@20", steps=1000)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == EXIT_REQUEUE, output[-2000:]
    (checkpoint,) = tmp_path.glob("generator/checkpoints/step-*")
    told = f"after step {int(checkpoint.name[5:])}; the same command goes on"
    assert told in output
    assert ("Ctrl-C again ends at once" in output) == (fault == "int")
    assert 2 <= int(checkpoint.name[5:]) <= 4
    assert "Traceback" not in output


def test_a_second_ctrl_c_ends_training_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, "flow", "twice@20", steps=1000)
    output, _ = process.communicate(timeout=200)
    assert process.returncode not in {0, EXIT_REQUEUE}, output[-2000:]
    assert "KeyboardInterrupt" in output
    assert not list(tmp_path.glob("generator/checkpoints/step-*"))


@pytest.mark.parametrize(
    "fault",
    [
        "raise",
        pytest.param("stop", marks=pytest.mark.slow),
        *(pytest.param(fault, marks=NIGHTLY) for fault in ("kill", "sleep")),
    ],
)
def test_all_processes_end_when_one_fails(fault: str, tmp_path: Path) -> None:
    process = start(tmp_path, "flow", f"{fault}@48", processes=2, steps=100_000)
    began = time.monotonic()
    output, _ = process.communicate(timeout=START_SECONDS + 120)
    assert process.returncode != 0
    assert time.monotonic() - began < START_SECONDS + 90
    assert "steps.py" in output  # where the process was that can still tell
