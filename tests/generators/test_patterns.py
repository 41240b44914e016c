"""Codebook patterns: every token once, in an order that a model can follow, there and back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from audiogen.generators.tokens.patterns import HOLE, PATTERNS, build, revert

NAMES = sorted(PATTERNS)
SIZES = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 12))  # B, K, L


def layout_of(name: str, num_codebooks: int, num_frames: int) -> Tensor:
    return PATTERNS[name](num_codebooks, num_frames)  # type: ignore[index]


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(size=SIZES)
def test_there_and_back(name: str, size: tuple[int, int, int]) -> None:
    batch, num_codebooks, num_frames = size
    layout = layout_of(name, num_codebooks, num_frames)
    tokens = torch.randint(100, size)
    sequence = build(layout, tokens, 100)
    assert sequence.shape == (batch, num_codebooks, len(layout))
    assert torch.equal(revert(layout, sequence), tokens)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(size=SIZES)
def test_holes_are_filled_where_no_token_stands(name: str, size: tuple[int, int, int]) -> None:
    batch, num_codebooks, num_frames = size
    layout = layout_of(name, num_codebooks, num_frames)
    sequence = build(layout, torch.randint(100, size), 100)
    assert torch.equal(sequence != 100, (layout.T != HOLE).expand(batch, -1, -1))
    assert (sequence != 100).sum(dim=2).tolist() == [[num_frames] * num_codebooks] * batch
    for codebook in layout.T:  # every frame once, in order of time
        assert torch.equal(codebook[codebook != HOLE], torch.arange(num_frames))


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(size=SIZES)
def test_coarse_tokens_of_a_frame_never_come_after_fine_ones(
    name: str, size: tuple[int, int, int]
) -> None:
    layout = layout_of(name, *size[1:])
    steps = torch.arange(len(layout)).expand(1, size[1], -1)
    step_of = revert(layout, steps)[0]  # (K, L)
    assert bool((step_of.diff(dim=0) >= 0).all())


def test_the_layouts_are_those_of_the_paper() -> None:
    drawn = {  # steps from left to right, codebooks from top to bottom
        "parallel": ["012", "012"],
        "delay": ["012.", ".012"],
        "flattened": ["0.1.2.", ".0.1.2"],
        "coarse_first": ["012...", "...012"],
    }
    for name, rows in drawn.items():
        expected = [[HOLE if one == "." else int(one) for one in row] for row in rows]
        assert layout_of(name, 2, 3).T.tolist() == expected
    assert layout_of("coarse_first", 3, 2).T.tolist() == [[0, 1, -1, -1], *[[-1, -1, 0, 1]] * 2]
