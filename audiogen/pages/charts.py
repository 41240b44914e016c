"""Charts of a page: spectrograms, curves over steps, bars, scales, a heat table.

Charts are inline SVG and CSS, not pictures: sharp at every size, light or dark as the page is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from audiogen.pages.markup import Markup, number, tag
from audiogen.pages.pictures import FloatArray, Spectrogram, colours, frequency_ticks, picture_uri

_MAX_POINTS = 160


def percent(fraction: float) -> str:
    """Return a CSS length, 0 to 100 %."""
    return f"{100 * min(1.0, max(0.0, fraction)):.1f}%"


def screen(image: Spectrogram, *details: object, reference_db: float, alt: str) -> Markup:
    """Show a spectrogram with the labels of its frequencies and `details` over it.

    `reference_db` is the level of the brightest colour; `alt` says what it is, in words.
    """
    ticks = [
        tag("span", label, style=f"bottom:{100 * height:.1f}%", class_="tick")
        for label, height in frequency_ticks(image.top_hz)
    ]
    picture = picture_uri(image, reference_db=reference_db)
    shown = tag("img", src=picture, alt=alt, draggable="false")
    return tag("div", shown, *ticks, *details, class_="screen")


def scale(way: float | None) -> Markup:
    """Draw where the takes lie from the real floor (0) to the noise ceiling (1)."""
    if way is None:
        return tag("span", "no scale: noise is not above the real floor", class_="quiet")
    text = f"{round(100 * way)} % of the way from real to noise"
    return tag(
        "div", tag("i"), class_="scale", style=f"--at:{percent(way)}", role="img", aria_label=text
    )


def bar(value: float | None, *, kind: str, mark: float | None = None, limit: float = 1.0) -> Markup:
    """Draw a bar from 0 to `limit`, with an optional mark such as chance, and its value."""
    line = tag("b", style=f"--at:{percent(mark / limit)}") if mark is not None else ""
    fill = tag("i", style=f"--at:{percent((value or 0.0) / limit)}")
    whole = value is None or (value == int(value) and value > 1)  # others line up at two decimals
    text = number(value, 9) if whole else f"{value:.2f}"
    return tag(
        "div", tag("div", fill, line, class_=f"bar {kind}"), tag("span", text), class_="barline"
    )


def heat_table(rows: Mapping[str, Mapping[str, int]]) -> Markup:
    """Draw a confusion matrix: a row per prompted label, a column per recognised one."""
    columns = [*rows, *sorted({name for row in rows.values() for name in row} - set(rows))]
    body = []
    for label, row in rows.items():
        cells = []
        for column in columns:
            share = row.get(column, 0) / (sum(row.values()) or 1)
            name = ("hit" if column == label else "miss") + (" strong" if share > 0.55 else "")
            text = number(row[column]) if share else "·"
            cells.append(tag("td", text, class_=name, style=f"--heat:{100 * share:.0f}%"))
        body.append(tag("tr", tag("th", label, scope="row"), *cells))
    heads = (tag("th", tag("span", name), scope="col") for name in columns)
    head = tag("tr", tag("td", "prompted ↓  heard →", class_="quiet"), *heads)
    grid = tag("table", tag("thead", head), tag("tbody", *body), class_="heat")
    return tag("div", grid, class_="wide", tabindex=0)


Series = Sequence[tuple[float, float]]


def line_chart(title: str, curves: Mapping[str, Series], *, size: str = "") -> Markup:
    """Draw curves over steps; several share the axes and have a legend.

    The line is the mean of the values that fall on one point, the shade their range. The vertical
    axis is logarithmic when all values are above zero and spread more than twentyfold.
    """
    series = {name: _condense(points) for name, points in curves.items() if points}
    if not series:
        return Markup("")
    low = min(float(points[:, 2].min()) for points in series.values())
    high = max(float(points[:, 3].max()) for points in series.values())
    end = max(float(points[-1, 0]) for points in series.values()) or 1.0
    logarithmic = low > 0 and high > 20 * low
    bottom, top = _span(low, high, logarithmic)
    palette = colours(len(series)) if len(series) > 1 else ["var(--accent)"]
    shapes, legend = [], []
    for (name, points), colour in zip(series.items(), palette, strict=True):
        levels = np.log10(points[:, 1:]) if logarithmic else points[:, 1:]
        xs = 100 * points[:, 0] / end
        ys = 100 * (top - levels) / (top - bottom)
        outline = [*zip(xs, ys[:, 1], strict=True), *zip(xs[::-1], ys[::-1, 2], strict=True)]
        if len(series) == 1:
            shapes.append(tag("path", d=f"{svg_path(outline)}Z", fill=colour, class_="range"))
        line = svg_path(list(zip(xs, ys[:, 0], strict=True)))
        shapes.append(tag("path", d=line, stroke=colour, class_="line"))
        legend.append(tag("span", tag("i", style=f"background:{colour}"), name))
    grid, labels = [], []
    for text, height in _ticks(bottom, top, logarithmic):
        grid.append(tag("path", d=f"M0 {height:.2f}H100", class_="grid"))
        labels.append(tag("span", text, style=f"top:{height:.2f}%"))
    drawing = tag("svg", *grid, *shapes, viewBox="0 0 100 100", preserveAspectRatio="none")
    final = number(next(iter(series.values()))[-1, 1]) if len(series) == 1 else ""
    return tag(
        "figure",
        tag("figcaption", tag("span", title), tag("span", final, class_="quiet")),
        tag("div", drawing, *labels, class_="plot", role="img", aria_label=f"{title} over steps"),
        tag("div", tag("span", "0"), tag("span", f"{end:,.0f} steps"), class_="steps"),
        tag("div", *legend, class_="legend") if len(series) > 1 else "",
        class_=f"chart {size}".strip(),
    )


def _condense(points: Series) -> FloatArray:
    """Return rows (step, mean, least, greatest), at most `_MAX_POINTS` of them."""
    values = np.array(sorted(points), dtype=np.float64)
    pieces = np.array_split(values, min(_MAX_POINTS, len(values)))
    rows = [(p[-1, 0], p[:, 1].mean(), p[:, 1].min(), p[:, 1].max()) for p in pieces]
    return np.array(rows, dtype=np.float64)


def _span(low: float, high: float, logarithmic: bool) -> tuple[float, float]:
    """Return the ends of the vertical axis with a little air, in the axis's own units."""
    if logarithmic:
        low, high = math.log10(low), math.log10(high)
    air = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - air, high + air


def _ticks(bottom: float, top: float, logarithmic: bool) -> list[tuple[str, float]]:
    """Return labels of the vertical axis with their distance from the top in percent."""
    from matplotlib.ticker import LogLocator, MaxNLocator  # noqa: PLC0415 (slow to import)

    if logarithmic:
        locator = LogLocator(subs=(1.0,) if top - bottom > 3 else (1.0, 2.0, 5.0))
        values = locator.tick_values(10**bottom, 10**top)
    else:
        values = MaxNLocator(4).tick_values(bottom, top)
    levels = zip(values, np.log10(values) if logarithmic else values, strict=True)
    inner = [(value, level) for value, level in levels if bottom < level < top]
    inner = inner[:: max(1, -(-len(inner) // 6))]
    return [(number(value), 100 * (top - level) / (top - bottom)) for value, level in inner]


def svg_path(points: Sequence[tuple[float, float]]) -> str:
    """Return an SVG path through `points`."""
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points)
