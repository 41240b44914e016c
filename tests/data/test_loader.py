"""The order of training items: a pure function of seed and step."""

from collections import Counter

import pytest

from audiogen.data.clips import Position, item_seed
from audiogen.data.loader import StepSampler


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
        assert sorted(whole, key=str) == sorted(first + second, key=str)
        assert len(first) == len(second) == 2


def test_another_seed_is_another_order() -> None:
    assert batches(seed=4) != batches()


def test_items_have_their_own_randomness() -> None:
    seeds = {item_seed(s, Position(e, i)) for s in range(3) for e in range(3) for i in range(9)}
    assert len(seeds) == 81


def test_a_batch_must_divide_among_processes() -> None:
    with pytest.raises(ValueError, match="multiple of 3 processes"):
        batches(num_processes=3)
    with pytest.raises(ValueError, match="no item to train on"):
        StepSampler(0, batch_size=1, start_step=0, total_steps=1, seed=0)
