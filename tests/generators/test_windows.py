"""Windows over long sounds and rings."""

import pytest
import torch
from torch import Tensor

from audiogen.generators import windows
from audiogen.generators.request import Request
from audiogen.generators.sampling import ODESamplingConfig
from audiogen.generators.windows import in_batches, over_windows
from audiogen.types import Conditions

WINDOW = 8


@pytest.mark.parametrize("lengths", [[5, 5], [8], [9, 20], [33, 20, 9, 21]])
@pytest.mark.parametrize("turn", [None, 0.0, 0.4])
def test_windows_cover_everything_and_blend_to_the_whole(
    lengths: list[int], turn: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "ROWS_AT_ONCE", 3)
    x = torch.randn(len(lengths), 3, max(lengths))
    seen = []

    def double(piece: Tensor, items: Tensor, frames: Tensor) -> Tensor:
        seen.append(piece.shape)
        for row, item, places in zip(piece, items, frames, strict=True):
            assert int(places.max()) < lengths[int(item)]  # no padding is seen
            torch.testing.assert_close(row, x[item][:, places])
        return 2 * piece

    found = over_windows(double, x, WINDOW, lengths=lengths, turn=turn)
    for item, length in enumerate(lengths):
        torch.testing.assert_close(found[item, :, :length], 2 * x[item, :, :length])
    assert all(shape[2] <= WINDOW for shape in seen)
    assert all(shape[0] <= 3 for shape in seen)


@pytest.mark.parametrize("turn", [None, 0.4])
def test_items_in_a_batch_are_what_they_are_alone(turn: float | None) -> None:
    lengths = [20, 13, 33]
    x = torch.randn(3, 2, 33)

    def squared(piece: Tensor, items: Tensor, _frames: Tensor) -> Tensor:
        return (piece + items[:, None, None]) ** 2 - piece.mean(dim=2, keepdim=True)

    together = over_windows(squared, x, WINDOW, lengths=lengths, turn=turn)
    for item, length in enumerate(lengths):
        alone = over_windows(
            lambda piece, items, frames, item=item: squared(piece, items + item, frames),
            x[item : item + 1, :, :length],
            WINDOW,
            lengths=[length],
            turn=turn,
        )
        assert torch.equal(together[item, :, :length], alone[0])


@pytest.mark.parametrize("num_frames", [8, 20])
def test_on_a_ring_the_end_is_followed_by_the_beginning(num_frames: int) -> None:
    joined = []

    def watch(piece: Tensor, _items: Tensor, frames: Tensor) -> Tensor:
        steps = frames.diff(dim=1) % num_frames
        assert bool((steps == 1).all())
        joined.append(bool((frames.diff(dim=1) < 0).any()))
        return piece

    x = torch.randn(1, 2, num_frames)
    for offset in range(num_frames):
        over_windows(watch, x, WINDOW, lengths=[num_frames], turn=offset / num_frames)
    assert any(joined)
    joined.clear()
    over_windows(watch, x, WINDOW, lengths=[num_frames])
    assert not any(joined)


@pytest.mark.parametrize(
    ("ring", "expected"), [(False, [[0, 2, 4], [1, 3]]), (True, [[0, 4], [1, 3], [2]])]
)
def test_batches_keep_apart_what_needs_padding_and_what_cannot_have_it(
    ring: bool, expected: list[list[int]]
) -> None:
    text = torch.zeros(5, 1, 2)
    request = Request(
        conditions=Conditions(
            text=text, text_mask=text[..., 0] == 0, pooled=text[:, 0], controls={}
        ),
        lengths=[5, 20, 8, 9, 5],
        sampling=ODESamplingConfig(),
        seeds=range(5),
        ring=ring,
    )
    batches = []

    def seeds_where_real(part: Request) -> Tensor:
        batches.append(list(part.seeds))
        return torch.where(part.real, 1 + torch.tensor(part.seeds)[:, None], 0)[:, None]

    made = in_batches(seeds_where_real, request, WINDOW)
    assert batches == expected
    assert torch.equal(made, torch.where(request.real, torch.arange(1, 6)[:, None], 0)[:, None])
