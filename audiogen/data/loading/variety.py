"""Whether controls vary over training sounds: looked at before anything is trained."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from audiogen.conditioning.controls import ControlName
from audiogen.data.loading.clips import (
    in_parts,
    long_sound,
    read_clip,
    speeds_of,
    thinned,
    version_blocks,
    version_length,
    versions_of,
)
from audiogen.data.loading.measured import (
    MeasuredWindow,
    find_ranges,
    measure_blocks,
    measure_windows,
    spread_of,
)
from audiogen.data.manifest import ManifestRow
from audiogen.types import LatentSpec

FEW = 100
"""Windows that are measured first, spread over the sounds."""
INNER_PERCENTILES = (10, 90)
"""Of them, between which a control has to vary for all windows to be sure to."""
_log = logging.getLogger(__name__)


def require_variety(
    folder: Path,
    rows: Sequence[ManifestRow],
    spec: LatentSpec,
    window_frames: int,
    controls: Sequence[ControlName],
    *,
    versions: int,
) -> None:
    """Raise ValueError where training would find that a control has no range.

    A few windows are measured; all that training measures, only where those do not tell.

    Args:
        folder: of the sounds.
        rows: of the training files.
        spec: rate, channels and hop are those of the codec.
        window_frames: of training, in latent frames.
        controls: to be learnt; without any nothing is read.
        versions: of each file, see `versions_of`.
    """
    if not controls:
        return
    few = list(_a_few(folder, rows, spec, window_frames, controls))
    ends = {name: spread_of(few, name, INNER_PERCENTILES)[1] for name in controls}
    flat = [name for name, (low, high) in ends.items() if low >= high]
    if flat:
        _log.info("%s: hardly varies in %d windows; all are measured", ", ".join(flat), len(few))
        find_ranges(_all(folder, rows, spec, window_frames, flat, versions), flat)


def _a_few(
    folder: Path,
    rows: Sequence[ManifestRow],
    spec: LatentSpec,
    window_frames: int,
    controls: Sequence[ControlName],
) -> Iterator[MeasuredWindow]:
    """Measure at most `FEW` windows, evenly spread over the files and over each file."""
    some = thinned(rows, FEW)
    length = window_frames * spec.hop_length
    for row in some:
        num_samples, cut = in_parts(folder, row, spec, window_seconds=length / spec.sample_rate)
        places = np.linspace(0, max(0, num_samples - length), FEW // len(some))
        for start in sorted(set(places.astype(int).tolist())):
            yield from measure_windows(cut(start, start + length), spec, window_frames, controls)


def _all(
    folder: Path,
    rows: Sequence[ManifestRow],
    spec: LatentSpec,
    window_frames: int,
    controls: Sequence[ControlName],
    versions: int,
) -> Iterator[MeasuredWindow]:
    """Measure the windows that training will."""
    window_seconds = window_frames * spec.hop_length / spec.sample_rate
    for row in rows:
        sound = long_sound(folder, row, spec, window_seconds=window_seconds)
        if sound:
            for speed, sign in speeds_of(versions):
                blocks, length = version_blocks(sound, speed, sign), version_length(sound, speed)
                yield from measure_blocks(blocks, length, spec, window_frames, controls)
        else:
            for wav in versions_of(read_clip(folder, row, spec), versions):
                yield from measure_windows(wav, spec, window_frames, controls)
