import pytest

from audiogen.pages.charts import line_chart, scale
from audiogen.pages.markup import DASH, join, number, tag

EVIL = "<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.64, "0.64"), (12.345, "12.3"), (1234.5, "1,234"), (0, "0"), (7, "7"), (-3.1, "-3.1")),
        *((0.0001, "1e-4"), (float("nan"), DASH), (None, DASH), ("x", DASH), (True, DASH)),
    ],
)
def test_numbers_are_short(value: object, text: str) -> None:
    assert number(value) == text


def test_tag_escapes_children_and_values() -> None:
    assert tag("b", EVIL, title='"><i>') == (
        '<b title="&quot;&gt;&lt;i&gt;">&lt;script&gt;alert(1)&lt;/script&gt;</b>'
    )
    assert join(["<", tag("i")], " & ") == "&lt; &amp; <i></i>"


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [-3.0, 5.0], [1e-8, 1e8]])
def test_line_chart_of_any_values_is_finite(values: list[float]) -> None:
    chart = line_chart("loss", {"loss": list(enumerate(values))})
    assert "nan" not in chart
    assert "inf" not in chart


def test_takes_that_are_no_worse_than_recordings_are_at_nought() -> None:
    assert "0 % of the way" in scale(-0.0004)
    assert "-0 %" not in scale(-0.0004)
    assert "7 % of the way" in scale(0.0666)
