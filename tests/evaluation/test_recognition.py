import pytest

from audiogen.evaluation.evaluate import compare_labels


def test_compare_labels_counts() -> None:
    found = compare_labels(["a", "a", "a", "b"], ["a", "b", "b", "b"])
    assert found.overall == 0.5
    assert found.per_label == {"a": pytest.approx(1 / 3), "b": 1.0}
    assert found.confusion == {"a": {"b": 2, "a": 1}, "b": {"b": 1}}
