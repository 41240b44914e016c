"""Train and held-out sides, chosen by whole source recordings."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from scipy.cluster.hierarchy import DisjointSet

from audiogen.data.manifest import ManifestRow
from audiogen.data.metadata import Split


def merge_copies(rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    """Give rows with the same content or sound, directly or through others, one `source_id`."""
    groups = DisjointSet(row.source_id for row in rows)
    first_with: dict[str, str] = {}
    source_at = {row.path: row.source_id for row in rows}
    for row in rows:
        groups.merge(row.source_id, first_with.setdefault(row.sha256, row.source_id))
        groups.merge(row.source_id, source_at.get(row.copy_of, row.source_id))
    names = {source: min(group) for group in groups.subsets() for source in group}
    return [replace(row, source_id=names[row.source_id]) for row in rows]


def split_by_source(
    rows: Sequence[ManifestRow], *, held_out: float, seed: int
) -> list[ManifestRow]:
    """Hold out a share of every label by whole sources.

    Sources come in the order of a hash of seed and name, so a label's split does not change when
    files of other sources are added under other labels. A label with two sources or more has one
    on each side, unless labels share sources in a way that rules it out: then training comes first.
    A row that already has a side keeps it, and its whole source with it.

    Args:
        rows: used rows; copies are already one source.
        held_out: share of each label's files, 0 (none) to below 1.
        seed: of the order.

    Raises:
        ValueError: the sides given put one source on both.
    """
    given = _given_sides(rows)
    held = {source for source, side in given.items() if side == "held_out"}
    clips: dict[str, Counter[str]] = defaultdict(Counter)  # their numbers, by label and source
    for row in rows:
        clips[row.label][row.source_id] += 1

    def is_free(source: str) -> bool:
        """Tell whether every label of the source keeps another one to train on."""
        labels = (sources for sources in clips.values() if source in sources)
        return all(sources.keys() - held - {source} for sources in labels)

    for label in sorted(clips) if held_out > 0 else ():
        sources = clips[label]
        target = held_out * sources.total()
        count = sum(num for source, num in sources.items() if source in held)
        order = sorted(sources.keys() - held - given.keys(), key=partial(_hash, seed))
        for source in order:
            is_nearer = abs(count + sources[source] - target) < abs(count - target)
            if is_nearer and is_free(source):
                held.add(source)
                count += sources[source]
        if not count:  # every source is larger than twice the share: take the smallest
            smallest = min(filter(is_free, order), key=sources.__getitem__, default=None)
            if smallest is not None:
                held.add(smallest)
    return [replace(row, split="held_out" if row.source_id in held else "train") for row in rows]


def _given_sides(rows: Sequence[ManifestRow]) -> dict[str, Split]:
    """Return the sides that rows already have, by source."""
    first: dict[str, ManifestRow] = {}
    for row in rows:
        if not row.split:
            continue
        other = first.setdefault(row.source_id, row)
        if other.split != row.split:
            why = f"their source is {row.source_id!r}, by metadata, name, or copies of them"
            if other.sha256 == row.sha256:
                why = "their bytes are the same"
            elif other.copy_of or row.copy_of:
                why = "they hold the same sound, as `audiogen data check` shows"
            raise ValueError(
                f"The split in the metadata puts one recording on both sides:\n"
                f"  {other.path} is {other.split}, {row.path} is {row.split};\n"
                f"  {why}.\n"
                "Put both on one side, or leave the split of one of them empty."
            )
    return {source: row.split for source, row in first.items()}


def _hash(seed: int, source: str) -> bytes:
    return hashlib.sha256(f"{seed}:{source}".encode()).digest()
