"""metrics.json: written and read by one type, and nothing else passes for it."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from scores import make_scores

from audiogen.evaluation.scores import read_scores


def test_scores_are_read_as_they_were_written(tmp_path: Path) -> None:
    for scores in (make_scores(), make_scores(takes=None, likelihood=None)):
        scores.write(tmp_path / "metrics.json")
        assert read_scores(tmp_path / "metrics.json") == scores


def test_near_copies_lie_below_the_threshold() -> None:
    takes = make_scores().takes
    assert takes is not None
    assert [one.take for one in takes.copies.near] == ["rain-0.wav"]


@pytest.mark.parametrize(
    "change",
    [{"codec": {}}, {"machine": None}, {"recognized": {}}, {"takes": {"frechet": "near"}}],
)
def test_another_file_is_refused_by_name(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    make_scores().write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match="evaluate again") as caught:
        read_scores(path)
    assert str(path) in str(caught.value)
    assert next(iter(change)) in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 4


def test_a_number_that_is_none_is_not_written() -> None:
    with pytest.raises(ValidationError, match="finite"):
        make_scores(recognised={"all": {}, "chance": float("nan"), "per_label": {}})
