"""Pieces of an HTML page, escaped by construction: text is escaped unless it is `Markup`."""

from __future__ import annotations

import base64
import hashlib
import html
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

_VOID = {"img", "path"}
REPORT = Path(__file__).with_name("template.html")
DASH = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"


class Markup(str):
    """Text that is already HTML. Only `tag` and `join` make it."""

    __slots__ = ()


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """Return one element; children and values are escaped, save children that are `Markup`.

    Args:
        name: element name.
        children: texts, numbers or `Markup`.
        attributes: `class_` gives class, `aria_label` aria-label; None and False leave one out,
            True writes it without a value.
    """
    pieces = [f"<{name}"]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        pieces.append(f" {key.rstrip('_').replace('_', '-')}")
        if value is not True:
            pieces.append(f'="{html.escape(str(value))}"')
    pieces.append(">")
    if name in _VOID and not children:
        return Markup("".join(pieces).removesuffix(">") + "/>")
    return Markup("".join([*pieces, join(children), f"</{name}>"]))


def join(parts: Iterable[object], separator: str = "") -> Markup:
    """Join parts into `Markup`, escaping those that are not."""
    escaped = (part if isinstance(part, Markup) else html.escape(str(part)) for part in parts)
    return Markup(html.escape(separator).join(escaped))


def section(anchor: str, title: str, *body: object, lead: object = "") -> Markup:
    """Return a section of the page with its heading and a sentence that says what one sees."""
    intro = tag("p", lead, class_="lead") if lead else ""
    return tag("section", tag("h2", title), intro, *body, id=anchor)


def missing(what: str, command: str) -> Markup:
    """Say what is not there and which command makes it."""
    return tag("p", f"{what} ", tag("code", command), " makes it.", class_="missing")


def fold(summary: object, *body: object) -> Markup:
    """Return a block that opens on a click or on Enter."""
    return tag("details", tag("summary", summary), *body)


def table(header: Sequence[object], rows: Iterable[Sequence[object]], class_: str = "") -> Markup:
    """Return a table whose first column names the row; it scrolls when it is too wide."""
    columns = tag("tr", *(tag("th", cell, scope="col") for cell in header))
    head = tag("thead", columns) if any(header) else ""
    body = [
        tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest))
        for first, *rest in rows
    ]
    grid = tag("table", head, tag("tbody", *body), class_=class_ or None)
    return tag("div", grid, class_="wide", tabindex=0)


def tiles(facts: Iterable[tuple[str, str]]) -> Markup:
    """Return key figures as (value, what it is)."""
    cells = (tag("div", tag("dd", value), tag("dt", name)) for value, name in facts)
    return tag("dl", *cells, class_="tiles")


def fill_page(title: str, page: Path = REPORT, **parts: str) -> str:
    """Fill a template; only its own script may run, and nothing may be fetched from elsewhere.

    Args:
        title: text.
        page: HTML with `{{name}}` where a part goes.
        parts: HTML by name; `script` is the page's script, where it does not stand in the template.
    """
    template = page.read_text(encoding="utf-8")
    found = re.search(r"<script>(.*?)</script>", template, re.DOTALL)
    script = parts.get("script", found[1] if found else "")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    filled = {"title": join([title]), "script_hash": f"'sha256-{digest}'", **parts}
    return re.sub(r"\{\{(\w+)\}\}", lambda place: filled[place[1]], template)


def finite(value: object) -> float | None:
    """Return a finite number, or None for anything else that a JSON file may hold."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def number(value: object, digits: int = 3) -> str:
    """Write a number with about `digits` significant digits; a dash for what is none."""
    found = finite(value)
    if found is None:
        return DASH
    if found and (abs(found) < 1e-3 or abs(found) >= 1e6):
        mantissa, exponent = f"{found:.{digits - 1}e}".split("e")
        return (
            f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent)}"
        )
    decimals = digits - 1 - math.floor(math.log10(abs(found))) if found else 0
    text = f"{found:,.{max(0, decimals)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def duration(seconds: float) -> str:
    """Write a time span the way people say it."""
    if seconds < 1:
        return f"{number(seconds, 2)} s"
    if seconds < 60:
        return f"{number(seconds)} s"
    minutes = round(seconds / 60)
    if seconds < 600:
        return f"{int(seconds) // 60} min {int(seconds) % 60} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
