"""The likelihood of an evaluation: means over clips of what a generator says, in known bits."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from audiogen.evaluation.metrics import density as subject
from audiogen.evaluation.metrics.density import density
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.generators.abilities import PredictsLatents, PredictsTokens
from audiogen.nn.lowbit import WeightKind
from audiogen.types import Batch, Conditions, LatentSpec

RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "tiny"
FRAMES = [2, 4, 6]  # of the three clips of each split
SPEC = LatentSpec(
    kind="tokens",
    channels=2,
    vocab_size=8,
    hop_length=1000,
    sample_rate=16_000,
    audio_channels=1,
)


class Latents(PredictsLatents):
    """Says that the n-th clip of a split costs n bits per number."""

    window_frames = 6

    def bits_per_dimension(self, batch: Batch, *, seeds: Sequence[int]) -> Tensor:
        return torch.arange(1.0, 1 + len(seeds))


class Tokens(PredictsTokens):
    """Guesses among 8 tokens of the first codebook and 2 of the other; int8 costs twice."""

    window_frames = 6

    def log_likelihood(self, batch: Batch, *, weights: WeightKind = "fp32") -> Tensor:
        per_frame = -torch.tensor([math.log(8), math.log(2)], dtype=torch.float64)
        return batch.mask.sum(dim=1)[:, None] * per_frame * (2 if weights == "int8" else 1)


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that measures a kind of generator on clips of `FRAMES` frames."""
    mask = torch.arange(6)[None] < torch.tensor(FRAMES)[:, None]
    text = torch.zeros(3, 1, 2)
    conditions = Conditions(
        text=text, text_mask=torch.ones(3, 1, dtype=torch.bool), pooled=text[:, 0], controls={}
    )
    batch = Batch(latents=torch.zeros(3, 2, 6), mask=mask, conditions=conditions)
    rows = ["a.wav", "b.wav", "c.wav"]
    monkeypatch.setattr(subject, "read_split", lambda *_: rows)
    monkeypatch.setattr(subject, "clip_batch", lambda *_: batch)

    for kind in (Latents, Tokens):  # what else a generator does is not asked for
        monkeypatch.setattr(kind, "__abstractmethods__", frozenset())

    def run(kind: type, config: ExperimentConfig) -> Any:
        codec = SimpleNamespace(spec=SPEC, wanted_std=torch.tensor([[1.0], [4.0]]))
        pipeline: Any = SimpleNamespace(generator=kind.__new__(kind), codec=codec)
        return density(config, pipeline)

    return run


def config(recipe: str, *overrides: str) -> ExperimentConfig:
    return load_config(RECIPES / f"{recipe}.yaml", ["evaluate.likelihood_clips=3", *overrides])


def test_bits_per_dimension_are_means_over_clips(measure: Callable[..., Any]) -> None:
    found = measure(Latents, config("diffusion"))
    assert found.per == "latent dimension"
    for split in (found.held_out, found.train):
        assert (split.mean, split.std, split.clips) == (2.0, pytest.approx((2 / 3) ** 0.5), 3)
    entropies = torch.distributions.Normal(0.0, torch.tensor([1.0, 4.0])).entropy()
    assert found.structureless == pytest.approx(float(entropies.mean()) / math.log(2))


def test_tokens_cost_bits_per_second_and_every_frame_counts_once(
    measure: Callable[..., Any],
) -> None:
    found = measure(Tokens, config("autoregressive", "evaluate.batch_size=2"))
    assert found.per == "second of sound"
    assert found.held_out.mean == pytest.approx(16 * (3 + 1))  # frames per second, bits
    assert found.held_out.std == pytest.approx(0, abs=1e-9)
    assert found.train.perplexity == pytest.approx((8, 2))
    assert found.held_out_with == {"bf16": pytest.approx(64), "int8": pytest.approx(128)}
    assert found.structureless == 16 * 2 * 3


def test_what_has_no_density_has_no_likelihood(measure: Callable[..., Any]) -> None:
    assert measure(object, config("diffusion")) is None
    assert measure(Latents, config("diffusion", "evaluate.likelihood_clips=0")) is None
    assert measure(Latents, config("flow-fewstep")) is None  # it is no denoiser any more
