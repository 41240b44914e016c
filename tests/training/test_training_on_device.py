"""Training on a device: what the CPU learns, with one look at the numbers of each step."""

import json
import os
import subprocess
import sys
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import few_steps
import pretend_device
import pytest
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from torch import Tensor

from audiogen.training.checkpoint.folder import load_latest
from audiogen.training.loop import codec_loop, generator_loop
from audiogen.training.loop.stage import Learner, StepResult

FSQ = "codec.bottleneck={type: fsq, levels: [5, 5], num_codebooks: 4}"
FAMILIES = {
    name: (name, ())
    for name in ("vae", "mel", "rvq", "diffusion", "flow", "autoregressive", "masked")
} | {"fsq": ("rvq", (FSQ,))}
STEPS = 5
ROUNDING = 2e-3
"""Of weights: other kernels round otherwise."""
SETTINGS = [f"train.{stage}.steps={STEPS}" for stage in ("codec", "generator")] + [
    "train.log_every=1",
    "train.codec.batch_size=2",
    "train.generator.batch_size=4",
    "train.generator.accumulate=2",
    "train.codec.adversarial_start=0.5",
    "train.precision=fp32",
]
A_LOOK = "training/loop/reading.py"
"""Where a step waits for the device."""


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    """What came of each family, in a process of its own, which has the device."""
    if pretend_device.register is None:
        pytest.skip("this torch has no devices that are written in Python")
    own = Path(pretend_device.__file__).resolve().parent
    done = subprocess.run(
        [sys.executable, __file__],
        cwd=own.parent,
        env={**os.environ, "PYTHONPATH": f"{own}{os.pathsep}{own.parent}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_device_learns_what_the_cpu_learns(family: str, found: dict[str, dict[str, Any]]) -> None:
    assert not found[family]["problem"]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_looks_at_its_numbers_once(family: str, found: dict[str, dict[str, Any]]) -> None:
    waits: dict[str, int] = found[family]["waits"]
    own = {place: count for place, count in waits.items() if A_LOOK in place}
    assert list(own.values()) == [STEPS - 1]
    # Codebooks ask besides whether an entry is dead.
    asked = {place: count for place, count in waits.items() if place not in own}
    assert list(asked.values()) == ([STEPS - 1] if family == "rvq" else [])


# In the process that has the device


def trained(family: str, device: torch.device) -> tuple[dict[str, Tensor], dict[str, int]]:
    """All that a checkpoint holds, and where the steps waited for the device."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True)
    for state in (PartialState(), accelerator.state):
        state.device = device
    waits: dict[str, int] = {}
    loops = (codec_loop, generator_loop)
    before = [loop.run_steps for loop in loops]

    def watched(learner: Learner, *given: Any) -> None:
        def update(step: int, batch: Any) -> StepResult:
            there = batch.to(device)
            pretend_device.waits.clear()
            result = learner.update(step, there)
            if step:  # the first one makes tables
                for place, count in pretend_device.waits.items():
                    waits[place] = waits.get(place, 0) + count
            return result

        before[0](replace(learner, update=update), *given)

    with tempfile.TemporaryDirectory() as name:
        kind, more = FAMILIES[family]
        config = few_steps.load(Path(name), kind, [*SETTINGS, *more])
        for loop in loops:
            loop.run_steps = watched  # type: ignore[assignment]
        try:
            few_steps.train_model(kind, config, accelerator, "")
        finally:
            for loop, own in zip(loops, before, strict=True):
                loop.run_steps = own  # type: ignore[assignment]
        (folder,) = Path(name).glob("*/checkpoints")
        latest = load_latest(folder)
        assert latest is not None
        tensors = latest.tensors
    return {f"{group}/{k}": v for group, kept in tensors.items() for k, v in kept.items()}, waits


def attempted(family: str, device: torch.device) -> tuple[dict[str, Tensor], dict[str, int], str]:
    """What `trained` gives, and the error that ended it."""
    try:
        return *trained(family, device), ""
    except Exception:
        return {}, {}, traceback.format_exc(limit=-8)


def difference(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> str:
    """How what was learnt is other than on the CPU; empty where it is the same."""
    differing = [
        name
        for name, one in wanted.items()
        if not torch.allclose(one.double(), found[name].double(), atol=ROUNDING, rtol=ROUNDING)
    ]
    return f"{len(differing)} of {len(wanted)} differ: {differing[:5]}" if differing else ""


if __name__ == "__main__":
    torch.set_num_threads(1)
    # The device first: what goes backward later would not know it.
    with pretend_device.pretend_device() as pretended:
        there = {family: attempted(family, pretended) for family in FAMILIES}
    told = {}
    for name, (learnt, places, error) in there.items():
        other = error or difference(trained(name, torch.device("cpu"))[0], learnt)
        told[name] = {"problem": other, "waits": places}
    sys.stdout.write("\n" + json.dumps(told))
