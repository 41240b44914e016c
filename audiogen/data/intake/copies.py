"""Finds files that hold the same sound: re-encoded, louder or softer, trimmed, or cut from it.

All words of all fingerprints are sorted once. Files that share a word are compared at the offset
which most of their shared words agree on; the share of differing bits decides. Sounds of which
less than about a second overlaps are not compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import DisjointSet

from audiogen.audio.measure.fingerprint import NO_WORDS, Words
from audiogen.data.manifest import ManifestRow

MIN_WORDS = 64  # 0.7 s, to which the window of a word adds 0.3 s
MAX_ERROR = 0.25  # share of differing bits; 0.5 is chance, and 0.35 Haitsma and Kalker's limit
NEIGHBOURS = 8  # files with the same word are compared with so many others, which forms a chain
COPY_WARNINGS: Mapping[str, str] = {
    "exact_copy": "the same bytes as another file",
    "near_copy": "the same sound as another file: re-encoded, louder or softer, or cut from it",
}
_OFFSET_BITS = 32

Array = npt.NDArray[np.int64]


def mark_copies(rows: Sequence[ManifestRow], fingerprints: Sequence[Words]) -> list[ManifestRow]:
    """Enter into each used row which earlier row has the same content or the same sound."""
    first_with: dict[str, int] = {}
    earliest = [first_with.setdefault(row.sha256, index) for index, row in enumerate(rows)]
    groups = DisjointSet(range(len(rows)))
    compared = [  # identical files need not be
        words if earliest[index] == index else NO_WORDS for index, words in enumerate(fingerprints)
    ]
    for first, second in near_copies(compared):
        groups.merge(first, second)
    first_of = {index: min(group) for group in groups.subsets() for index in group}
    marked = []
    for index, row in enumerate(rows):
        warning, original = "exact_copy", earliest[index]
        if original == index:
            warning, original = "near_copy", first_of[index]
        if original != index:
            warnings = (*row.warnings, warning)
            row = replace(row, warnings=warnings, copy_of=rows[original].path)  # noqa: PLW2901
        marked.append(row)
    return marked


def near_copies(fingerprints: Sequence[Words]) -> list[tuple[int, int]]:
    """Return pairs of indices, the earlier first, that join all fingerprints of the same sound."""
    groups = DisjointSet(range(len(fingerprints)))
    found = []
    for first, second, offset in _candidates(fingerprints):
        if groups.connected(first, second):
            continue
        if _same_sound(fingerprints[first], fingerprints[second], offset):
            groups.merge(first, second)
            found.append((first, second))
    return sorted(found)


def _same_sound(first: Words, second: Words, offset: int) -> bool:
    """Compare two fingerprints where word `i` of the first meets `i + offset` of the second."""
    start, end = max(0, -offset), min(len(first), len(second) - offset)
    if end - start < MIN_WORDS:
        return False
    ours, theirs = first[start:end], second[start + offset : end + offset]
    known = (ours != 0) & (theirs != 0)
    count = int(known.sum())
    wrong = int(np.bitwise_count(ours[known] ^ theirs[known]).sum())
    return count >= MIN_WORDS and wrong <= MAX_ERROR * 32 * count


def _candidates(fingerprints: Sequence[Words]) -> Iterator[tuple[int, int, int]]:
    """Yield (first, second, offset) of files that share words, those that share most first."""
    files, places = _shared(fingerprints)
    if len(files) == 0:
        return
    pair_names, pairs = np.unique(files[0] * len(fingerprints) + files[1], return_inverse=True)
    votes = (pairs.astype(np.int64) << _OFFSET_BITS) + (places + (1 << (_OFFSET_BITS - 1)))
    names, counts = np.unique(votes, return_counts=True)
    for name in names[np.argsort(-counts, kind="stable")]:
        pair = int(pair_names[name >> _OFFSET_BITS])
        offset = int(name & ((1 << _OFFSET_BITS) - 1)) - (1 << (_OFFSET_BITS - 1))
        yield pair // len(fingerprints), pair % len(fingerprints), offset


def _shared(fingerprints: Sequence[Words]) -> tuple[Array, Array]:
    """Return (2, n) files that share a word, the earlier first, and the (n,) offsets it tells."""
    lengths = [len(words) for words in fingerprints]
    if not sum(lengths):
        return np.zeros((0, 0), dtype=np.int64), np.zeros(0, dtype=np.int64)
    words = np.concatenate(fingerprints).astype(np.int64)
    files = np.repeat(np.arange(len(lengths)), lengths)
    places = np.concatenate([np.arange(length) for length in lengths])
    # The first time that a file has a word: steady sounds have few words many times.
    _, kept = np.unique(words * len(lengths) + files, return_index=True)
    kept = kept[words[kept] != 0]
    words, files, places = words[kept], files[kept], places[kept]
    pairs, offsets = [], []
    for step in range(1, NEIGHBOURS + 1):
        (same,) = np.nonzero(words[step:] == words[:-step])
        pairs.append(np.stack([files[same], files[same + step]]))
        offsets.append(places[same + step] - places[same])
    return np.concatenate(pairs, axis=1), np.concatenate(offsets)
