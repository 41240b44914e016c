from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiogen.data.intake.held_out import merge_copies, split_by_source
from audiogen.data.manifest import ManifestRow
from audiogen.data.metadata import Split


def clip(label: str, source: str, number: int = 0, digest: str = "") -> ManifestRow:
    path = f"{label}/{source}-{number}.wav"
    return ManifestRow(
        path=path,
        sha256=digest or path,
        seconds=1.0,
        sample_rate=44100,
        channels=1,
        label=label,
        source_id=source,
    )


def sides(rows: list[ManifestRow]) -> dict[str, str]:
    return {row.path: row.split for row in rows}


RAIN = [clip("rain", f"r{i}", take) for i in range(20) for take in range(1 + i % 3)]
FIRE = [clip("fire", f"f{i}") for i in range(10)]


def test_the_share_is_met_per_label_by_whole_sources() -> None:
    rows = split_by_source(RAIN + FIRE, held_out=0.2, seed=0)
    held = Counter(row.label for row in rows if row.split == "held_out")
    assert held["fire"] == 2
    assert abs(held["rain"] - 0.2 * len(RAIN)) <= 1.5
    assert len({(row.source_id, row.split) for row in rows}) == 30


def test_the_split_depends_on_the_seed_and_not_on_order_or_other_labels() -> None:
    first = sides(split_by_source(RAIN, held_out=0.2, seed=0))
    assert sides(split_by_source(RAIN[::-1], held_out=0.2, seed=0)) == first
    assert sides(split_by_source(RAIN, held_out=0.2, seed=1)) != first
    together = sides(split_by_source(RAIN + FIRE, held_out=0.2, seed=0))
    assert first.items() <= together.items()


def test_small_labels() -> None:
    rows = [clip("one", "a"), clip("one", "a", 1), clip("two", "b"), clip("two", "c")]
    rows += [clip("big", "d", i) for i in range(9)] + [clip("big", "e", i) for i in range(4)]
    split = {row.source_id: row.split for row in split_by_source(rows, held_out=0.2, seed=0)}
    assert split["a"] == "train"
    assert {split["b"], split["c"]} == {"train", "held_out"}
    assert (split["d"], split["e"]) == ("train", "held_out")


def test_nothing_is_held_out_when_none_is_wanted() -> None:
    assert {row.split for row in split_by_source(RAIN, held_out=0, seed=0)} == {"train"}


def test_copies_are_one_source_also_through_others() -> None:
    rows = [
        clip("x", "c", digest="1"),
        clip("x", "b", digest="1"),
        clip("y", "b", 1, digest="2"),
        clip("y", "a", digest="2"),
        clip("y", "other"),
    ]
    assert [row.source_id for row in merge_copies(rows)] == ["a", "a", "a", "a", "other"]


@settings(max_examples=100, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 12)), min_size=1, max_size=60),
    seed=st.integers(0, 5),
    held_out=st.floats(0, 0.99),
)
def test_no_source_straddles_and_every_label_can_be_trained(
    pairs: list[tuple[str, int]], seed: int, held_out: float
) -> None:
    rows = [clip(label, f"s{source}", k) for k, (label, source) in enumerate(pairs)]
    split = split_by_source(rows, held_out=held_out, seed=seed)
    assert [row.path for row in split] == [row.path for row in rows]
    side: dict[str, set[str]] = {}
    for row in split:
        side.setdefault(row.source_id, set()).add(row.split)
    assert all(len(values) == 1 for values in side.values())
    for label in {row.label for row in split}:
        assert "train" in {row.split for row in split if row.label == label}


def test_rows_keep_the_side_they_have_and_the_rest_fills_the_share() -> None:
    given: dict[str, Split] = {"r0": "held_out", "r4": "held_out", "r1": "train"}
    rows = [replace(row, split=given.get(row.source_id, "")) for row in RAIN]
    split = split_by_source(rows, held_out=0.2, seed=0)
    found = {row.source_id: row.split for row in split}
    assert found.items() >= given.items()
    held = sum(row.split == "held_out" for row in split)
    assert abs(held - 0.2 * len(RAIN)) <= 1.5
    only = split_by_source(rows, held_out=0, seed=0)
    assert {row.source_id for row in only if row.split == "held_out"} == {"r0", "r4"}


def test_a_side_holds_for_the_whole_source_and_for_copies() -> None:
    rows = [
        replace(clip("x", "a"), split="held_out"),
        clip("x", "a", 1),
        replace(clip("x", "b"), copy_of="x/a-1.wav"),
        clip("x", "c"),
    ]
    split = split_by_source(merge_copies(rows), held_out=0.1, seed=0)
    assert [row.split for row in split] == ["held_out", "held_out", "held_out", "train"]
    rows[2] = replace(rows[2], split="train")
    with pytest.raises(ValueError, match="same sound") as caught:
        split_by_source(merge_copies(rows), held_out=0.1, seed=0)
    assert "x/a-0.wav is held_out, x/b-0.wav is train" in str(caught.value)
