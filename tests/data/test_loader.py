"""The order of training items: a pure function of seed and step."""

from collections import Counter

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from audiogen.data.loading.clips import Position
from audiogen.data.loading.loader import StepSampler, make_loader
from audiogen.seeds import normal, numbers_of


def batches(**changes: int) -> list[list[Position]]:
    settings = {"batch_size": 4, "start_step": 0, "total_steps": 10, "seed": 3, **changes}
    return list(StepSampler(10, **settings))


def test_each_epoch_has_each_item_once() -> None:
    seen = [position for batch in batches() for position in batch]
    assert Counter(position.index for position in seen) == dict.fromkeys(range(10), 4)
    first = [position.index for position in seen[:10]]
    assert [position.epoch for position in seen[:10]] == [0] * 10
    assert first != [position.index for position in seen[10:20]]


def test_a_later_start_goes_on_in_the_same_order() -> None:
    assert batches(start_step=7) == batches()[7:]


def test_processes_share_the_batch_of_one() -> None:
    parts = [batches(rank=rank, num_processes=2) for rank in range(2)]
    for whole, first, second in zip(batches(), *parts, strict=True):
        assert whole == first + second


class Clips(Dataset[Tensor]):
    """Random excerpts, as the real sets make them."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, position: Position) -> Tensor:
        random = numbers_of("clip", 3, position.epoch, position.index)
        return torch.cat([torch.tensor([position.index]), normal(random, 4)])


def loaded(num_workers: int, num_processes: int, start_step: int = 0) -> list[Tensor]:
    """Batches over all processes, each joined from the processes' own loaders."""
    loaders = [
        make_loader(
            Clips(),
            StepSampler(
                10,
                batch_size=4,
                start_step=start_step,
                total_steps=6,
                seed=3,
                rank=rank,
                num_processes=num_processes,
            ),
            torch.stack,
            num_workers=num_workers,
        )
        for rank in range(num_processes)
    ]
    return [torch.cat(parts) for parts in zip(*loaders, strict=True)]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("num_processes", [1, 2])
def test_workers_processes_and_restarts_change_nothing(
    num_workers: int, num_processes: int
) -> None:
    torch.rand(7)  # nor does the global generator
    whole = loaded(0, 1)
    assert len(whole) == 6
    assert all(map(torch.equal, loaded(num_workers, num_processes), whole))
    assert all(map(torch.equal, loaded(num_workers, num_processes, start_step=4), whole[4:]))


def test_another_seed_is_another_order() -> None:
    assert batches(seed=4) != batches()


def test_a_batch_must_divide_among_processes() -> None:
    with pytest.raises(ValueError, match="multiple of 3 processes"):
        batches(num_processes=3)
    with pytest.raises(ValueError, match="no item to train on"):
        StepSampler(0, batch_size=1, start_step=0, total_steps=1, seed=0)
