"""Regions of a sound, as they are typed; read without loading what makes sounds."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

MIN_REGION_SECONDS = 0.02
_log = logging.getLogger(__name__)


def read_region(text: str) -> tuple[float, float | None]:
    """Return START and STOP of a region in seconds; no STOP, which is the end, is None.

    Raises:
        ValueError: it is no such text, or ends before it begins.

    >>> read_region("1.2:2"), read_region(":0.5"), read_region("3:")
    ((1.2, 2.0), (0.0, 0.5), (3.0, None))
    """
    try:
        first, second = text.split(":")
        start, stop = float(first or 0), float(second) if second.strip() else None
    except ValueError:
        message = f"region {text!r}: expected START:STOP in seconds, such as 1.2:2.0"
        raise ValueError(message) from None
    finite = all(math.isfinite(one) for one in (start, stop or 0.0))
    if not finite or start < 0 or (stop is not None and stop <= start):
        raise ValueError(f"region {text}: expected a START before its STOP, in seconds from 0 on")
    return start, stop


def find_regions(texts: Sequence[str], length: int, sample_rate: int) -> list[tuple[int, int]]:
    """Regions as (start, stop) in samples, in order; those that overlap are merged.

    Args:
        texts: START:STOP in seconds; without START from the beginning, without STOP to the end.
        length: samples of the file.
        sample_rate: Hz.

    Raises:
        ValueError: a region is no such text, reversed, outside of the file, or shorter than a
            fade.
    """
    if not texts:
        raise ValueError("give at least one region, such as --region 1.2:2.0")
    total = length / sample_rate
    found = []
    for text in texts:
        start, end = read_region(text)
        stop = total if end is None else end
        if start >= total or round(stop * sample_rate) > length:
            raise ValueError(f"region {text}: the file reaches from 0 to {total:.3f} s")
        if stop - start < MIN_REGION_SECONDS:
            raise ValueError(f"region {text}: shorter than {1000 * MIN_REGION_SECONDS:.0f} ms")
        found.append((round(start * sample_rate), round(stop * sample_rate)))
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(found):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
            _log.info("regions that overlap are merged, up to %.3f s", merged[-1][1] / sample_rate)
        else:
            merged.append((start, stop))
    return merged
