"""Packs of synthetic takes, without a model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audiogen.audio.io.files import write_audio
from audiogen.audio.loops import measure_seam
from audiogen.generators import ODESamplingConfig
from audiogen.pack.job import JobTake, write_job
from audiogen.takes.making import seam_report
from audiogen.takes.sidecar import take_slug
from audiogen.takes.spec import TakeSpec

RATE = 16_000


def make_ring(seed: int, num_samples: int) -> Tensor:
    """A sound (1, T) without a seam: noise of few frequencies, each of whole turns."""
    source = torch.Generator().manual_seed(seed)
    spectrum = torch.zeros(num_samples // 2 + 1, dtype=torch.complex64)
    spectrum[20:400] = torch.randn(380, generator=source, dtype=torch.complex64)
    wav = torch.fft.irfft(spectrum, n=num_samples)
    return 0.3 * wav[None] / wav.abs().max()


@pytest.fixture
def ring() -> Callable[[int, int], Tensor]:
    """Return `make_ring`."""
    return make_ring


@pytest.fixture
def listed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The test module's LIST of prompts, as a file."""
    path = tmp_path / "prompts.yaml"
    path.write_text(request.module.LIST, encoding="utf-8")
    return path


@pytest.fixture
def make_pack_of() -> Callable[..., list[JobTake]]:
    """Return a function that writes a pack with a take for each prompt, all of them loops."""

    def make(
        pack: Path, prompts: Sequence[str], *, seconds: float = 0.5, **spec: Any
    ) -> list[JobTake]:
        takes = []
        for seed, prompt in enumerate(prompts):
            asked = {"loop": True, "sampling": ODESamplingConfig(), **spec}
            one = TakeSpec(prompt=prompt, seed=seed, seconds=seconds, **asked)
            name = f"{take_slug(prompt)}-seed{seed}"
            take = JobTake(file=name, spec=one, model="runs/x", model_digest="0" * 16)
            wav = make_ring(seed, round(seconds * RATE))
            note = {"seed": seed, "seam": seam_report(measure_seam(wav, RATE))}
            write_audio(take.path(pack), wav, RATE, sidecar=note)
            takes.append(take)
        write_job(pack, takes)
        return takes

    return make
