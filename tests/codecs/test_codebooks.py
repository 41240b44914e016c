"""Codebooks fit their data, use all entries, resume exactly, and agree in all processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from audiogen.codecs.bottlenecks.codebooks import Codebooks
from audiogen.codecs.bottlenecks.quantise import ResidualVQ, ResidualVQConfig
from audiogen.storage import read_tensors, write_tensors
from audiogen.training.loop.ema import EMA


def directions(count: int, dim: int = 4, seed: int = 0) -> Tensor:
    """Well separated clusters (count, dim) to draw from."""
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.nn.functional.normalize(torch.randn(count, dim, generator=generator), dim=1)


def draw(centres: Tensor, count: int, spread: float = 0.02) -> Tensor:
    """Vectors (1, count, dim) around random centres."""
    vectors = centres[torch.randint(len(centres), (count,))]
    return (vectors + spread * torch.randn_like(vectors))[None]


def books(vocab_size: int, dim: int = 4, **changes: float) -> Codebooks:
    return Codebooks(1, vocab_size, dim, **{"decay": 0.95, "revive_below": 0.05, **changes})


def step(codebooks: Codebooks, vectors: Tensor) -> None:
    """One training step of one codebook."""
    codebooks.initialise(0, vectors[0])
    codebooks.learn(vectors, codebooks.nearest(0, vectors))


def error(codebooks: Codebooks, vectors: Tensor) -> float:
    found = codebooks.entries[0][codebooks.nearest(0, vectors)]
    return float((found - vectors).square().sum(dim=-1).mean())


def test_kmeans_begins_near_the_data() -> None:
    codebooks = books(16)
    vectors = draw(directions(16), 600)
    before = error(codebooks, vectors)
    codebooks.initialise(0, vectors[0])
    begun = error(codebooks, vectors)
    assert begun < 0.3 * before
    codebooks.initialise(0, 5 * torch.randn(600, 4))  # once only
    assert error(codebooks, vectors) == begun


def test_entries_become_the_means_of_what_chose_them() -> None:
    """With a decay near 1 the running mean is the mean over all steps (closed form)."""
    codebooks = books(1, decay=1 - 1e-9, revive_below=0.0)
    seen = [torch.randn(1, 50, 4) + 3 for _ in range(5)]
    codebooks.counts.fill_(1e-6)  # begun, with hardly any past
    for vectors in seen:
        step(codebooks, vectors)
    expected = torch.cat(seen, dim=1).mean(dim=1)
    torch.testing.assert_close(codebooks.entries[0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("revive_below", [0.05, 0.0])
def test_all_entries_come_into_use(revive_below: float) -> None:
    """Though the first batch has fewer vectors than entries, and all in one direction."""
    codebooks = books(64, revive_below=revive_below)
    step(codebooks, draw(directions(1), 40))
    for _ in range(200):
        step(codebooks, draw(directions(60), 40, spread=0.2))
    used = len(codebooks.nearest(0, draw(directions(60), 4000, spread=0.2)).unique())
    assert used >= 61 if revive_below else used < 50


def test_silence_and_bad_numbers_leave_it_sound() -> None:
    codebooks = books(8)
    step(codebooks, torch.zeros(1, 30, 4))
    assert bool(codebooks.entries.isfinite().all())
    for _ in range(40):
        step(codebooks, draw(directions(8), 50))
    before = codebooks.entries.clone()
    step(codebooks, torch.full((1, 30, 4), torch.nan))
    assert torch.equal(codebooks.entries, before)


def test_a_resumed_training_is_the_same(tmp_path: Path) -> None:
    def train(codebooks: Codebooks, steps: range) -> None:
        for number in steps:
            torch.manual_seed(number)
            step(codebooks, draw(directions(40), 30, spread=0.3))

    whole, half, resumed = (books(32, revive_below=0.2) for _ in range(3))
    train(whole, range(40))
    train(half, range(20))
    write_tensors(tmp_path / "state.safetensors", half.state_dict())
    resumed.load_state_dict(read_tensors(tmp_path / "state.safetensors"))
    train(resumed, range(20, 40))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


class Encoder(nn.Module):
    """Something that moves while it is trained, in front of a codebook."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = nn.Linear(4, 4, bias=False)
        self.codebooks = books(32, decay=0.97)


def test_entries_fit_the_averaged_weights() -> None:
    """A rotation that goes on: running means lag behind as averaged weights do."""
    module = Encoder()
    ema = EMA(module, 0.97)
    centres = directions(30)
    averaged_too = module.codebooks.entries.clone()
    for number in range(150):
        angle = torch.tensor(0.004 * number)
        turn = torch.eye(4)
        turn[0, :2] = torch.stack([angle.cos(), -angle.sin()])
        turn[1, :2] = torch.stack([angle.sin(), angle.cos()])
        module.turn.weight.data = turn
        step(module.codebooks, module.turn(draw(centres, 60)).detach())
        ema.update(number)
        averaged_too.lerp_(module.codebooks.entries, 1 - ema.decay_at(number))
    data = draw(centres, 2000)
    assert ema.tensors().keys() == {"turn.weight"}
    live = error(module.codebooks, module.turn(data).detach())
    before = module.codebooks.entries.clone()
    with ema.applied(module):
        assert torch.equal(module.codebooks.entries, before)
        fitting = error(module.codebooks, module.turn(data).detach())
        module.codebooks.entries.copy_(averaged_too)
        lagging = error(module.codebooks, module.turn(data).detach())
    assert fitting < live
    assert fitting < 0.7 * lagging


PROCESS = """
import os, sys, torch
import torch.distributed as dist
from audiogen.codecs.bottlenecks.quantise import ResidualVQ, ResidualVQConfig
from audiogen.storage import write_tensors
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
torch.manual_seed(0)
config = ResidualVQConfig(num_codebooks=2, vocab_size=16, code_dim=2, revive_below=0.3)
model = ResidualVQ(config, 4)
torch.manual_seed(100 + rank)
for _ in range(20):
    model(torch.randn(4, 4, 6) + rank)
write_tensors(sys.argv[3], dict(model.codebooks.state_dict()))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_processes_hold_the_same_entries(tmp_path: Path) -> None:
    files = [tmp_path / f"{rank}.safetensors" for rank in range(2)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(rank), str(tmp_path / "join"), str(file)],
            env=environment,
        )
        for rank, file in enumerate(files)
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    first, second = (read_tensors(file) for file in files)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    alone = ResidualVQ(
        ResidualVQConfig(num_codebooks=2, vocab_size=16, code_dim=2, revive_below=0.3), 4
    )
    for _ in range(20):
        alone(torch.randn(4, 4, 6))
    # Each step counts the vectors of both.
    assert float(first["counts"].sum()) > 1.5 * float(alone.codebooks.counts.sum())
