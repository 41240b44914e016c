"""Packs of synthetic takes, without a model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audiogen.audio.loops import measure_seam
from audiogen.generators import ODESamplingConfig
from audiogen.pack.job import take_path, write_job
from audiogen.takes.take import Take, take_slug, write_take

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
def make_pack_of() -> Callable[..., list[Take]]:
    """Return a function that writes a pack with a take for each prompt, all of them loops."""

    def make(
        pack: Path, prompts: Sequence[str], *, seconds: float = 0.5, **spec: Any
    ) -> list[Take]:
        takes = []
        for seed, prompt in enumerate(prompts):
            asked = {"loop": True, "sampling": ODESamplingConfig(), **spec}
            name = f"{take_slug(prompt)}-seed{seed}"
            take = Take(
                prompt=prompt,
                seed=seed,
                seconds=seconds,
                file=name,
                run="runs/x",
                model_digest="0" * 16,
                **asked,
            )
            wav = make_ring(seed, round(seconds * RATE))
            made = {"seam": measure_seam(wav, RATE), "sample_rate": RATE}
            write_take(take_path(pack, take), wav, take.model_copy(update=made))
            takes.append(take)
        write_job(pack, takes)
        return takes

    return make
