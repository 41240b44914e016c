"""The data of a report: what was trained on, under which licences, by whom; what was refused."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Sequence

from audiogen.data.intake.scan import INTAKE_REASONS
from audiogen.data.manifest import ManifestRow
from audiogen.pages.charts import bar
from audiogen.pages.markup import DASH, Markup, duration, fold, join, missing, section, table, tag

_LABELS_OPEN = 40  # a longer table of labels is folded
_ROWS_SHOWN = 3000  # of a long table; the manifest has the rest


def total_length(rows: Iterable[ManifestRow]) -> str:
    """Return the length of all rows together, as people say it."""
    return duration(sum(row.seconds for row in rows))


def data_section(manifest: Sequence[ManifestRow], problem: str) -> Markup:
    """Say what was trained on and what was refused; without rows it says the problem."""
    title = "Data"
    if not manifest:
        words = problem or "manifest.jsonl has no rows."
        return section("data", title, missing(words, "audiogen prepare RECIPE"))
    used = [row for row in manifest if row.verdict == "used"]
    refused = [row for row in manifest if row.verdict != "used"]
    held = [row for row in used if row.split == "held_out"]
    lead = (
        f"{len(used):,} clips, {total_length(used)}, from"
        f" {len({row.source_id or row.path for row in used}):,} recordings;"
        f" {len(held):,} clips are held out for evaluation. {len(refused):,} files refused."
    )
    groups = collections.defaultdict(list)
    for row in used:
        groups[row.label or "no label"].append(row)
    most = max((len(rows) for rows in groups.values()), default=1)
    labels = []
    for name, rows in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        kept = sum(row.split == "held_out" for row in rows)
        share = bar(len(rows), kind="real", limit=most)
        labels.append((name, share, total_length(rows), f"{kept:,}"))
    grid = table(("label", "clips", "length", "held out"), labels[:_ROWS_SHOWN], "figures bars")
    return section(
        "data",
        title,
        grid if len(labels) <= _LABELS_OPEN else fold(f"{len(labels):,} labels", grid),
        _licences(used),
        _refused(refused),
        lead=lead,
    )


def _licences(used: Sequence[ManifestRow]) -> Markup:
    """Return licences with counts, and the attribution of every clip, folded."""
    counts = collections.Counter(row.licence or "not stated" for row in used)
    rows = [(name, f"{count:,}") for name, count in counts.most_common()]
    closed = sum(n for name, n in counts.items() if re.search(r"\bNC\b", name.upper()))
    unknown = counts["not stated"]
    notes = [f"{closed:,} clips are for non-commercial use only."] if closed else []
    notes += [f"{unknown:,} clips have no stated licence."] if unknown else []
    authors: dict[tuple[str, str], list[ManifestRow]] = {}
    for row in used:
        key = (row.author or "not stated", row.licence or "not stated")
        authors.setdefault(key, []).append(row)
    credit = [
        (author, licence, join([_source(row) for row in group], ", "))
        for (author, licence), group in sorted(authors.items())
    ]
    cut = len(credit) > _ROWS_SHOWN
    rest = f"; the first {_ROWS_SHOWN:,}, manifest.jsonl has all" if cut else ""
    people = len({author for author, _ in authors} - {"not stated"})
    return join(
        [
            tag("h3", "Licences"),
            table(("licence", "clips"), rows, "figures plain"),
            tag("p", " ".join(notes), class_="missing") if notes else "",
            fold(
                f"Attribution: {people:,} named authors{rest}",
                table(("author", "licence", "recordings"), credit[:_ROWS_SHOWN], "credit"),
            ),
        ]
    )


def _source(row: ManifestRow) -> Markup:
    """Return a clip's name, linked to where it comes from when that is a web address."""
    name = row.path.rpartition("/")[2]
    if re.match(r"https?://", row.source):
        return tag("a", name, href=row.source, rel="noreferrer noopener")
    return tag("span", name, title=row.source or None)


def _refused(refused: Sequence[ManifestRow]) -> Markup:
    """Return the refused files with their reasons."""
    if not refused:
        return tag("p", "No file was refused.", class_="quiet")
    rows = [
        (row.path, f"{row.reason}: {INTAKE_REASONS.get(row.reason, DASH)}")
        for row in refused[:_ROWS_SHOWN]
    ]
    grid = table(("file", "reason"), rows, "credit")
    return join([tag("h3", "Refused files"), fold(f"{len(refused):,} files", grid)])
