"""Windows over long sounds and rings."""

import pytest
import torch
from torch import Tensor

from audiogen.generators.windows import over_windows


@pytest.mark.parametrize("num_frames", [5, 8, 9, 20, 33])
@pytest.mark.parametrize("offset", [None, 0, 3, 32])
def test_windows_cover_everything_and_blend_to_the_whole(
    num_frames: int, offset: int | None
) -> None:
    x = torch.randn(2, 3, num_frames)
    seen = []

    def double(piece: Tensor, frames: Tensor) -> Tensor:
        seen.append(piece.shape[-1])
        torch.testing.assert_close(piece, x[..., frames])
        return 2 * piece

    torch.testing.assert_close(over_windows(double, x, 8, ring_offset=offset), 2 * x)
    assert max(seen) <= 8


@pytest.mark.parametrize("num_frames", [8, 20])
def test_on_a_ring_the_end_is_followed_by_the_beginning(num_frames: int) -> None:
    joined = []

    def watch(piece: Tensor, frames: Tensor) -> Tensor:
        steps = frames.diff() % num_frames
        assert bool((steps == 1).all())
        joined.append(bool((frames.diff() < 0).any()))
        return piece

    x = torch.randn(1, 2, num_frames)
    for offset in range(num_frames):
        over_windows(watch, x, 8, ring_offset=offset)
    assert any(joined)
    joined.clear()
    over_windows(watch, x, 8)
    assert not any(joined)
