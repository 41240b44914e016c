"""Whitening: running statistics against a closed form, exact resumption, silence."""

import torch
from torch import Tensor

from audiogen.codecs.whitening import Whitening


def mixed(count: int) -> Tensor:
    """Frames (1, count, 3) whose channels are strongly mixed."""
    mixture = torch.tensor([[9.0, 1, 0], [8, 2, 1], [7, 0, 3]])
    return (torch.randn(count, 3) @ mixture.T + torch.tensor([5.0, -3, 40]))[None]


def test_a_batch_becomes_white_and_keeps_its_axes() -> None:
    x = mixed(5000)
    white = Whitening(3, decay=0.9).train()(x)[0]
    torch.testing.assert_close(white.mean(dim=0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(white.T.cov(), torch.eye(3), atol=1e-3, rtol=0)
    gain = torch.linalg.lstsq(x[0] - x[0].mean(dim=0), white).solution
    torch.testing.assert_close(gain, gain.T, atol=1e-3, rtol=0)  # no rotation: it would be free
    assert bool((torch.linalg.eigvalsh(gain) > 0).all())


def test_statistics_are_a_fading_mean_over_steps() -> None:
    whitening = Whitening(3, decay=0.8).train()
    batches = [mixed(100) * (1 + step) for step in range(5)]
    for batch in batches:
        whitening(batch)
    weights = torch.tensor([0.8 ** (4 - step) for step in range(5)])
    means = torch.stack([batch[0].mean(dim=0) for batch in batches])
    expected = (weights[:, None] * means).sum(dim=0) / weights.sum()
    torch.testing.assert_close(whitening.mean / whitening.weight, expected, atol=1e-3, rtol=1e-4)
    frozen = {name: value.clone() for name, value in whitening.state_dict().items()}
    whitening.eval()(mixed(100))
    assert all(torch.equal(value, frozen[name]) for name, value in whitening.state_dict().items())


def test_silence_and_bad_numbers_leave_it_sound() -> None:
    whitening = Whitening(3, decay=0.9).train()
    assert bool(whitening(torch.zeros(1, 20, 3)).isfinite().all())
    whitening(mixed(100))
    before = whitening.matrix.clone()
    whitening(torch.full((1, 20, 3), torch.nan))
    assert torch.equal(whitening.matrix, before)
    assert bool(whitening(torch.zeros(1, 20, 3)).isfinite().all())


def test_untrained_it_changes_nothing() -> None:
    x = mixed(10)
    assert torch.equal(Whitening(3, decay=0.9).eval()(x), x)
