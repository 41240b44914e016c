"""The draws of a step are functions of seed, step and item, wherever the item is computed."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from audiogen.nn.chance import Dropout, draws_of, rand, randint, randn, shared_generator

CPU = torch.device("cpu")


def drawn(items: range, *, seed: int = 1, step: int = 2) -> list[Tensor]:
    """Several draws of a step on some of its items."""
    dropout = Dropout(0.3)
    with draws_of(seed, step, items):
        count = len(items)
        return [
            randn((count, 3, 20), CPU),
            rand((count,), CPU),
            randint(5, (count, 7), CPU),
            dropout(torch.ones(count, 40)),
        ]


def test_an_item_does_not_depend_on_what_it_is_computed_with() -> None:
    whole = drawn(range(8))
    parts = [drawn(range(0, 2)), drawn(range(2, 3)), drawn(range(3, 8))]
    for index, expected in enumerate(whole):
        assert torch.equal(torch.cat([part[index] for part in parts]), expected)


def test_items_steps_seeds_and_draws_differ() -> None:
    noise = drawn(range(8))[0].flatten(1)
    others = [drawn(range(8), seed=2)[0].flatten(1), drawn(range(8), step=3)[0].flatten(1)]
    with draws_of(1, 2, range(8)):
        both = [randn((8, 60), CPU) for _ in range(2)]
    rows = torch.cat([noise, *others, both[1]])
    similar = (torch.corrcoef(rows) - torch.eye(len(rows))).abs()
    assert float(similar.max()) < 0.65  # of 60 numbers
    assert torch.equal(both[0], noise)


@pytest.mark.parametrize(
    ("draw", "mean", "std"),
    [
        (lambda: randn((64, 5000), CPU), 0.0, 1.0),
        (lambda: rand((64, 5000), CPU), 0.5, 12**-0.5),
        (lambda: randint(4, (64, 5000), CPU).float(), 1.5, 1.25**0.5),
        (lambda: Dropout(0.2)(torch.ones(64, 5000)), 1.0, 0.5),
    ],
)
def test_numbers_have_their_law(draw: Callable[[], Tensor], mean: float, std: float) -> None:
    with draws_of(0, 0, range(64)):
        numbers = draw()
    assert float(numbers.mean()) == pytest.approx(mean, abs=0.01)
    assert float(numbers.std()) == pytest.approx(std, abs=0.01)


def test_what_is_shared_is_the_same_in_all_processes() -> None:
    orders = []
    for items in (range(0, 4), range(4, 8)):
        with draws_of(1, 2, items):
            rand((4,), CPU)
            orders.append(torch.randperm(20, generator=shared_generator(CPU)))
    assert torch.equal(*orders)
    assert shared_generator(CPU) is None


def test_the_global_generator_is_left_alone_in_a_step_and_used_outside() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    drawn(range(4))
    assert torch.equal(torch.get_rng_state(), before)
    ours = rand((4, 5), CPU), randn((4, 50), CPU)
    torch.manual_seed(3)
    assert torch.equal(ours[0], torch.rand(4, 5))
    assert torch.equal(ours[1], torch.randn(4, 50))


def test_a_batch_of_another_size_is_refused() -> None:
    with draws_of(0, 0, range(4)), pytest.raises(ValueError, match="4 items"):
        rand((3, 2), CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_of_any_size_keeps_the_type_and_scales_up(dtype: torch.dtype) -> None:
    x = torch.full((3, 5, 7), 2.0, dtype=dtype)  # 35 numbers of an item: no whole words
    dropped = Dropout(0.5)(x)
    assert dropped.dtype == dtype
    assert dropped.shape == x.shape
    assert sorted(dropped.flatten().unique().tolist()) == [0.0, 4.0]


@pytest.mark.parametrize("share", [0.0, 1e-4, 0.9999])
def test_dropout_of_a_tiny_share_drops_and_of_a_large_one_keeps(share: float) -> None:
    dropped = Dropout(share)(torch.ones(64, 5000))
    assert bool(dropped.isfinite().all())
    assert bool((dropped == 0).any()) == (share > 0)
    assert bool((dropped > 0).any())


def test_dropout_is_off_outside_of_training() -> None:
    x = torch.randn(4, 5)
    assert torch.equal(Dropout(0.5).eval()(x), x)
