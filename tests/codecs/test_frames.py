"""Windows of frames: the same samples whatever blocks they come in."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from audiogen.codecs.frames import FrameStream


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any),
    hop=st.integers(1, 9),
    chunk=st.integers(1, 6),
    context=st.integers(0, 4),
)
def test_windows_are_those_of_the_joined_signal(
    lengths: list[int], hop: int, chunk: int, context: int
) -> None:
    blocks = [torch.randn(2, 1, length) for length in lengths]
    whole = torch.cat(blocks, dim=-1)
    num_frames = -(-whole.shape[-1] // hop)
    filled = torch.zeros(2, 1, num_frames * hop)
    filled[..., : whole.shape[-1]] = whole
    frames = FrameStream(iter(blocks), hop)
    for start in range(0, num_frames + 1, chunk):
        left, right = max(0, start - context), start + chunk + context
        expected = filled[..., left * hop : min(right, num_frames) * hop]
        assert torch.equal(frames.window(left, right), expected)


def test_blocks_are_taken_when_they_are_needed() -> None:
    taken = []

    def blocks() -> Iterator[Tensor]:
        for number in range(100):
            taken.append(number)
            yield torch.full((1, 1, 10), float(number))

    frames = FrameStream(blocks(), 5)
    assert torch.equal(frames.window(0, 3), torch.tensor([[[0.0] * 10 + [1.0] * 5]]))
    assert taken == [0, 1]
    assert torch.equal(frames.window(2, 5), torch.tensor([[[1.0] * 10 + [2.0] * 5]]))
    assert taken == [0, 1, 2]


@pytest.mark.parametrize("blocks", [[], [torch.zeros(1, 1, 0)]])
def test_a_signal_without_samples_is_refused(blocks: list[Tensor]) -> None:
    with pytest.raises(ValueError, match="at least one sample, got none"):
        FrameStream(iter(blocks), 5).window(0, 1)
