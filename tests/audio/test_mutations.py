"""Damaged files are refused for a named reason, or decoded whole; none takes long or much."""

import itertools
from collections import Counter
from pathlib import Path

import mutations
import pytest

from audiogen.audio.io import sandbox
from audiogen.audio.io.decoding import REASONS
from audiogen.audio.io.sandbox import run_contained

FEW = 156
AT_ONCE = 500


@pytest.fixture(autouse=True)
def few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "FILE_SECONDS", 2.0)
    monkeypatch.setattr(sandbox, "SECONDS_PER_MEGABYTE", 0.0)


def test_libsndfile_alone_is_fooled(tmp_path: Path) -> None:
    """The test below could fail: without the checks of containers, damage passes as sound."""
    seeds = mutations.seeds()
    batch = list(mutations.mutants(FEW))
    paths = [tmp_path / name for name in seeds] + [tmp_path / mutant.name for mutant in batch]
    for path, content in zip(paths, [*seeds.values(), *(m.content for m in batch)], strict=True):
        path.write_bytes(content)
    results = run_contained(mutations.decode_blindly, paths)
    healthy = dict(zip(seeds, results, strict=False))
    passed = [
        mutant.name
        for mutant, result in zip(batch, results[len(seeds) :], strict=True)
        if not isinstance(result, str) and mutations.fooled(mutant, result, healthy[mutant.seed])
    ]
    assert len(passed) > 10


@pytest.mark.parametrize("count", [FEW, pytest.param(6000, marks=pytest.mark.nightly)])
def test_no_damage_fools_the_reader(tmp_path: Path, count: int) -> None:
    seeds = mutations.seeds()
    for name, content in seeds.items():
        (tmp_path / name).write_bytes(content)
    results = run_contained(mutations.decode, [tmp_path / name for name in seeds])
    healthy = dict(zip(seeds, results, strict=True))
    assert not [name for name, result in healthy.items() if isinstance(result, str)]

    wrong: list[str] = []
    outcomes: Counter[str] = Counter()
    source = mutations.mutants(count)
    while batch := list(itertools.islice(source, AT_ONCE)):
        paths = [tmp_path / mutant.name for mutant in batch]
        for path, mutant in zip(paths, batch, strict=True):
            path.write_bytes(mutant.content)
        results = run_contained(mutations.decode, paths)
        for path, mutant, result in zip(paths, batch, results, strict=True):
            reason = result if isinstance(result, str) else "accepted"
            outcomes[reason] += 1
            if isinstance(result, str):
                fault = "" if reason in REASONS else f"unknown reason {reason}"
            else:
                fault = mutations.fooled(mutant, result, healthy[mutant.seed])
            if fault:
                wrong.append(f"{mutant.name}: {fault}")
            else:
                path.unlink()
    print(f"{count} damaged files: {dict(outcomes.most_common())}")  # noqa: T201 - the figures
    assert wrong == []
    beaten = {"decoder_crashed", "too_slow", "too_much_memory"} & outcomes.keys()
    assert not beaten, f"contained, but not understood: {beaten}"
    assert sum(outcomes.values()) == count
    assert 0.1 < outcomes["accepted"] / count < 0.9  # damage that all refuse would show little
