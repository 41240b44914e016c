"""The spectral distances: metrics, gradients at silence, and a proper score for noise."""

import math

import pytest
import torch
from torch import Tensor

from audiogen.codecs.discriminators import DiscriminatorConfig, Discriminators
from audiogen.codecs.losses import (
    SpectralDistance,
    SpectralLossConfig,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
    multi_resolution_loss,
)

RATE = 16000


@pytest.fixture
def distance() -> SpectralDistance:
    return SpectralDistance(SpectralLossConfig(), RATE).eval()


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def noise(seed: int, level: float = 0.1) -> Tensor:
    return level * torch.randn(4, 1, 8192, generator=torch.Generator().manual_seed(seed))


def test_equal_sounds_have_almost_no_distance(distance: SpectralDistance) -> None:
    assert float(total(distance(noise(0), noise(0)))) < 1e-3
    assert float(total(distance(noise(0), noise(0, 0.2)))) > 0.5


def test_any_length_is_compared(distance: SpectralDistance) -> None:
    """Excerpts need not be whole windows: they are filled up with silence."""
    first, second = noise(0)[..., :8000], noise(1)[..., :8000]
    found = float(total(distance(first, second)))
    assert found == pytest.approx(float(total(distance(noise(0), noise(1)))), rel=0.05)
    scores, _ = Discriminators(DiscriminatorConfig(channels=2), RATE)(first)
    assert len(scores) == 3


@pytest.mark.parametrize("case", ["silent estimate", "silent reference", "both silent"])
def test_silence_has_a_finite_gradient(distance: SpectralDistance, case: str) -> None:
    silence = torch.zeros(4, 1, 8192)
    reference = silence if case != "silent estimate" else noise(0)
    estimate = (noise(1) if case == "silent reference" else silence).clone().requires_grad_()
    losses = distance(reference, estimate)
    total(losses).backward()
    assert estimate.grad is not None
    assert bool(estimate.grad.isfinite().all())
    assert float(total(losses)) < 50
    if case != "both silent":  # there it is where it should be
        assert float(estimate.grad.norm()) > 1e-3
    assert float(estimate.grad.norm()) < 100


def test_noise_of_the_right_law_scores_best(distance: SpectralDistance) -> None:
    """The energy distance prefers independent noise to its blurred mean; a plain one does not."""
    reference = noise(0)

    def score(level: float) -> float:
        return float(total(distance(reference, noise(1, level), noise(2, level))))

    levels = {level: score(level) for level in (0.05, 0.08, 0.1, 0.125, 0.2)}
    assert min(levels, key=lambda level: levels[level]) == 0.1


def test_random_windows_have_the_same_mean(distance: SpectralDistance) -> None:
    reference, estimate = noise(0), noise(1, 0.15)
    expected = float(total(distance(reference, estimate)))
    distance.train()
    drawn = [float(total(distance(reference, estimate))) for _ in range(60)]
    assert sum(drawn) / len(drawn) == pytest.approx(expected, rel=0.1)
    assert max(drawn) - min(drawn) > 1e-3


def test_discriminators_learn_to_tell_noise_from_tone() -> None:
    critic = Discriminators(DiscriminatorConfig(windows_ms=(32, 8), channels=4), RATE)
    optimizer = torch.optim.AdamW(critic.parameters(), lr=2e-3)
    tone = 0.1 * torch.sin(torch.arange(8192) * 0.3).expand(4, 1, -1)
    for step in range(30):
        loss = discriminator_loss(critic(noise(step))[0], critic(tone)[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.5
    assert float(adversarial_loss(critic(noise(99))[0]).detach()) < 0
    assert all(bool(p.grad is not None and p.grad.any()) for p in critic.parameters())


def test_feature_matching_is_zero_for_equal_features() -> None:
    critic = Discriminators(DiscriminatorConfig(windows_ms=(16,), channels=4), RATE)
    _, maps = critic(noise(0))
    _, others = critic(noise(1))
    assert float(feature_matching_loss(maps, maps).detach()) == 0
    assert float(feature_matching_loss(maps, others).detach()) > 0.05


def test_multi_resolution_loss_is_that_of_the_paper() -> None:
    """Half the level: log 2 nats in every bin, and half of the energy's root missing."""
    reference = noise(0)
    assert float(multi_resolution_loss(reference, reference)) == pytest.approx(0, abs=1e-4)
    assert float(multi_resolution_loss(reference, reference / 2)) == pytest.approx(
        math.log(2) + 0.5, rel=0.01
    )
    assert float(multi_resolution_loss(reference, -reference)) == pytest.approx(0, abs=1e-4)
    quiet = torch.zeros_like(reference).requires_grad_()
    multi_resolution_loss(torch.zeros_like(reference), quiet).backward()
    assert quiet.grad is not None
    assert bool(quiet.grad.isfinite().all())
