"""Sums, means and batches over processes: two of them that meet, and one that is alone."""

import json
import subprocess
import sys

import pytest
import torch

from audiogen.nn.processes import (
    from_first_process,
    is_joined,
    mean_over_processes,
    of_all_processes,
    sum_over_processes,
)

PROGRAM = """
import json, sys
import torch
import torch.distributed as dist
from audiogen.nn import processes
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
own = torch.tensor([[1.0, 2.0], [3.0, 4.0]]) * (1 + 9 * rank)  # ten times as large in the second
kept, summed, first = own.clone(), own.clone(), own.clone()
learnt = own.clone().requires_grad_()
found = {
    "joined": processes.is_joined(),
    "sum": processes.sum_over_processes(summed).tolist(),
    "in place": summed.tolist(),
    "mean": processes.mean_over_processes(own.clone()).tolist(),
    "rows": processes.of_all_processes(own, dim=0).tolist(),
    "columns": processes.of_all_processes(own.T, dim=1).tolist(),
    "untouched": torch.equal(own, kept),
    "first": processes.from_first_process(first).tolist(),
    "gradient": processes.of_all_processes(learnt, dim=0).requires_grad,
}
print(json.dumps(found))
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """What each of two processes got."""
    meeting = tmp_path_factory.mktemp("meeting") / "file"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(rank), str(meeting)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    printed = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    return [json.loads(text) for text in printed]


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("joined", True),
        ("sum", [[11, 22], [33, 44]]),
        ("in place", [[11, 22], [33, 44]]),
        ("mean", [[5.5, 11], [16.5, 22]]),
        ("rows", [[1, 2], [3, 4], [10, 20], [30, 40]]),
        ("columns", [[1, 3, 10, 30], [2, 4, 20, 40]]),
        ("untouched", True),
        ("first", [[1, 2], [3, 4]]),
        ("gradient", False),
    ],
)
def test_two_processes_get_the_same(
    found: list[dict[str, object]], what: str, expected: object
) -> None:
    assert [one[what] for one in found] == [expected, expected]


def test_a_process_that_is_alone_gets_what_it_gave() -> None:
    own = torch.randn(2, 3)
    assert not is_joined()
    for given in (
        sum_over_processes(own),
        mean_over_processes(own),
        of_all_processes(own, dim=1),
        from_first_process(own),
    ):
        assert given is own
