"""Streams of random numbers on a device: the numbers of the CPU, moved, and as little alike."""

import itertools
import json
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pretend_device
import pytest
import torch
from torch import Tensor

from audiogen.generators.ode.flow import FlowConfig, FlowGenerator
from audiogen.generators.ode.run import Run
from audiogen.generators.ode.scene import Scene
from audiogen.generators.request import Request
from audiogen.generators.sampling import ODESamplingConfig
from audiogen.limits import MAX_SEED
from audiogen.nn.chance import draws_of, randn
from audiogen.seeds import noise_source
from audiogen.types import Batch, Conditions, LatentSpec

CHANNELS, FRAMES, TEXT_DIM = 100, 100, 12
SPEC = LatentSpec(
    kind="continuous",
    channels=CHANNELS,
    vocab_size=None,
    hop_length=512,
    sample_rate=16_000,
    audio_channels=1,
)
SEEDS = (0, 1, 4, 2**31, 2**32, 2**32 + 4, 1 << 40, 1 << 44, 2**62, MAX_SEED)
CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[1]


class Silent(FlowGenerator):
    """Hears silence in everything, so that points on the way are noise."""

    def denoise(self, x: Tensor, t: Tensor, scene: Scene) -> Tensor:
        return torch.zeros_like(x)


def conditions(batch: int, device: torch.device) -> Conditions:
    source = torch.manual_seed(1)
    made = Conditions(
        text=torch.randn(batch, 6, TEXT_DIM, generator=source),
        text_mask=torch.ones(batch, 6, dtype=torch.bool),
        pooled=torch.randn(batch, TEXT_DIM, generator=source),
        controls={"seconds": torch.ones(batch), "role": torch.zeros(batch)},
    )
    return made.to(device)


def generator(kind: type[FlowGenerator], device: torch.device) -> FlowGenerator:
    torch.manual_seed(0)
    config = FlowConfig(dim=32, depth=1, num_heads=2)
    return kind(config, SPEC, TEXT_DIM, FRAMES).eval().to(device)


def noises(seeds: list[int], lengths: list[int], device: torch.device) -> list[Tensor]:
    """What a run begins from, and what its solver adds on the way."""
    points: list[Tensor] = []
    request = Request(
        conditions=conditions(len(seeds), device),
        lengths=lengths,
        sampling=ODESamplingConfig(solver="pingpong", steps=2, guidance_scale=1.0),
        seeds=seeds,
    )
    made = generator(Silent, device)
    with torch.no_grad():
        Run(made, request, lambda x, t: points.append(x / t[:, None, None])).latents()
    assert {point.device for point in points} == {device}
    return [point.cpu() for point in points]


def a_take_begins_from_the_numbers_of_its_seed(device: torch.device) -> None:
    seeds, lengths = list(SEEDS), [*range(10, 101, 10)]
    start, added = noises(seeds, lengths, device)
    assert torch.equal(start, noise_source("start", seeds, CHANNELS, lengths)())
    wanted = noise_source("solver", seeds, CHANNELS, lengths)()
    torch.testing.assert_close(added, wanted, atol=1e-5, rtol=0)
    for here, there in zip(noises(seeds, lengths, CPU), (start, added), strict=True):
        assert torch.equal(here, there)


def any_two_of_a_thousand_are_uncorrelated(device: torch.device) -> None:
    seeds = [*SEEDS, *range(5, 495)]
    rows = torch.cat(noises(seeds, [FRAMES] * 500, device)).flatten(1)
    assert_uncorrelated(rows)


def training_draws_are_uncorrelated(device: torch.device) -> None:
    rows = []
    for seed, step in itertools.product(SEEDS, range(5)):
        with draws_of(seed, step, range(10)):
            rows += [randn((10, CHANNELS * FRAMES), device).cpu() for _ in range(2)]
    assert_uncorrelated(torch.cat(rows))


def a_training_step_draws_the_same_on_both(device: torch.device) -> None:
    losses = []
    for place, step in itertools.product((CPU, device), (0, 0, 1)):
        latents = torch.linspace(-1, 1, 4 * CHANNELS * FRAMES).view(4, CHANNELS, FRAMES).to(place)
        mask = torch.ones(4, FRAMES, dtype=torch.bool).to(place)
        batch = Batch(latents=latents, mask=mask, conditions=conditions(4, place))
        with draws_of(7, step, range(4)):
            losses.append(float(generator(FlowGenerator, place).train()(batch).loss.detach()))
    assert losses[:3] == losses[3:]
    assert losses[0] == losses[1] != losses[2]


def tensors_of_two_devices_do_not_meet(device: torch.device) -> None:
    there = torch.ones(3).to(device)
    for wrong in (lambda: there + torch.ones(3), there.numpy):
        with pytest.raises(RuntimeError):
            wrong()


def assert_uncorrelated(rows: Tensor) -> None:
    """Any two of 1,000 rows of 10,000 numbers."""
    numbers = rows.numpy()
    assert numbers.shape == (1000, 10_000)
    matrix = numbers @ numbers.T / numbers.shape[1]
    spread = matrix[np.triu_indices(len(matrix), 1)]
    assert abs(float(spread.std()) * numbers.shape[1] ** 0.5 - 1) < 0.02
    assert float(np.abs(spread).max()) < 0.06  # six standard deviations


CHECKS: dict[str, Any] = {
    check.__name__: check
    for check in (
        a_take_begins_from_the_numbers_of_its_seed,
        any_two_of_a_thousand_are_uncorrelated,
        training_draws_are_uncorrelated,
        a_training_step_draws_the_same_on_both,
        tensors_of_two_devices_do_not_meet,
    )
}


@pytest.fixture(scope="module")
def problems() -> dict[str, str]:
    """What was wrong in each check; they share a process of their own, which has the device."""
    if pretend_device.register is None:
        pytest.skip("this torch has no devices that are written in Python")
    done = subprocess.run(
        [sys.executable, __file__], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("check", CHECKS)
def test_on_the_pretend_device(check: str, problems: dict[str, str]) -> None:
    assert not problems[check]


def problem_of(check: Any, device: torch.device) -> str:
    try:
        check(device)
    except Exception:
        return traceback.format_exc(limit=-8)
    return ""


if __name__ == "__main__":
    with pretend_device.pretend_device() as there:
        told = {name: problem_of(check, there) for name, check in CHECKS.items()}
    sys.stdout.write(json.dumps(told))
