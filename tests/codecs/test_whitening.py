"""Whitening: statistics of all steps, their inverse, damaged batches, what does not vary."""

import torch

from audiogen.codecs.bottlenecks.whitening import Whitening


def batch(seed: int, count: int = 5000) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    mixing = torch.tensor([[3.0, 0.0, 0.0], [1.0, 0.5, 0.0], [-2.0, 0.5, 0.5]])
    return torch.randn(count, 3, generator=random) @ mixing.T + torch.tensor([1.0, -5.0, 0.0])


def test_what_it_has_seen_is_white() -> None:
    whitening = Whitening(2, 3, decay=0.9)
    for seed in range(30):
        whitening.learn(1, batch(seed))
    white = whitening.whiten(1, batch(100))
    assert torch.allclose(white.mean(dim=0), torch.zeros(3), atol=0.1)
    assert torch.allclose(white.T.cov(), torch.eye(3), atol=0.1)
    assert torch.allclose(whitening.restore(1, white), batch(100), atol=1e-3)
    assert not bool(whitening.is_begun[0])  # places know nothing of each other
    assert torch.allclose(whitening.whiten(0, batch(0)), batch(0), atol=1e-3)


def test_the_past_fades() -> None:
    whitening = Whitening(1, 3, decay=0.75)
    first, second = batch(0), 2 * batch(1)
    whitening.learn(0, first)
    assert torch.allclose(whitening.means[0], first.mean(dim=0), atol=1e-4)
    whitening.learn(0, second)
    expected = 0.75 * first.mean(dim=0) + 0.25 * second.mean(dim=0)
    assert torch.allclose(whitening.means[0], expected, atol=1e-4)


def test_a_damaged_batch_is_left_out() -> None:
    whitening = Whitening(1, 3, decay=0.9)
    whitening.learn(0, batch(0))
    before = {name: value.clone() for name, value in whitening.state_dict().items()}
    damaged = batch(1)
    damaged[3, 1] = torch.nan
    whitening.learn(0, damaged)
    assert all(torch.equal(before[name], v) for name, v in whitening.state_dict().items())


def test_numbers_that_do_not_vary_are_not_blown_up() -> None:
    whitening = Whitening(1, 3, decay=0.9)
    flat = torch.ones(50, 3)
    whitening.learn(0, flat)
    assert bool(whitening.whiten(0, flat).isfinite().all())
    dependent = torch.randn(500, 1).expand(-1, 3)
    for _ in range(100):
        whitening.learn(0, dependent)
    white = whitening.whiten(0, dependent)
    assert bool(white.isfinite().all())
    assert float(white.abs().max()) < 10
