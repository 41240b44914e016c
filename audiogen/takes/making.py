"""From requests to takes: batches of the model, and once more what is silent or has a seam."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from audiogen.audio.loops import measure_seam
from audiogen.locking import new_file
from audiogen.pipeline import Pipeline
from audiogen.seeds import later_seed
from audiogen.storage import make_folder
from audiogen.take_request import TakeRequest
from audiogen.takes.take import Batch, Take, take_slug, write_take

MAX_REMAKES = 8
"""How often a take that is silent, or a loop whose seam is heard, is made again, at most."""
REMAKE_STEP = 1_000_000
"""From a take's seed to that of its next try: which seed stands in for which does not depend on
what else is made."""
SILENT_PEAK = 1e-3
"""Of a take (-60 dBFS) that is silent. Others end at -23 LUFS or with a peak of -1 dBFS."""
_log = logging.getLogger(__name__)

Made = tuple[Take, Tensor]
"""A take that can be written, and its sound (C, T)."""


def make_takes(pipeline: Pipeline, requests: Sequence[TakeRequest]) -> list[Made]:
    """Make one batch of takes; again, with other seeds, what is silent and loops with a seam.

    A take is made again at most eight times. If none passes, the best is kept; the log says so.
    What has a rate of its own is a take that was chosen before, and keeps its seed.

    Raises:
        ValueError: see `Pipeline.takes`.
    """
    best: dict[int, Made] = {}
    faults: dict[int, tuple[float, str]] = {}
    left = dict(enumerate(requests))
    for tries in range(1, MAX_REMAKES + 2):
        tried = make_batch(pipeline, list(left.values()))
        for slot, (take, wav) in zip(tuple(left), tried, strict=True):
            fault = _fault(take, wav)
            if slot not in faults or fault < faults[slot]:
                faults[slot], best[slot] = fault, (take, wav)
            weight, text = fault
            if not weight or take.rate is not None:
                del left[slot]
            elif tries <= MAX_REMAKES:
                seed = later_seed(take.seed, REMAKE_STEP)
                left[slot] = left[slot].model_copy(update={"seed": seed})
                _log.info("seed %d -> %d: %s (%.60s)", take.seed, seed, text, take.prompt)
            else:
                said = "seed %d: none of %d takes passes; that of seed %d is kept, and %s"
                kept = best[slot][0].seed
                _log.warning(said, requests[slot].seed, tries, kept, faults[slot][1])
        if not left:
            break
    return [best[slot] for slot in range(len(requests))]


def _fault(take: Take, wav: Tensor) -> tuple[float, str]:
    """How bad a take is, zero for one that passes, and what is wrong with it."""
    if float(wav.abs().max()) < SILENT_PEAK:
        return math.inf, "it is silent"
    if take.seam is not None and not take.seam.passes:
        return take.seam.score, "its seam is heard"
    return 0.0, ""


def make_batch(pipeline: Pipeline, requests: Sequence[TakeRequest]) -> list[Made]:
    """Make one batch of takes; of the same batch always the same samples.

    Raises:
        ValueError: see `Pipeline.takes`.
    """
    wavs = pipeline.takes(requests)
    rate = pipeline.codec.spec.sample_rate
    together = tuple((one.prompt, one.seed, one.seconds) for one in requests)
    made = []
    for place, (request, wav) in enumerate(zip(requests, wavs, strict=True)):
        facts: dict[str, Any] = {}
        if request.loop:
            facts["seam"] = measure_seam(wav, request.rate or rate)
        if len(requests) > 1:
            facts["batch"] = Batch(place=place, takes=together)
        made.append((Take.made_by(pipeline, request, **facts), wav))
    return made


def write_takes(
    pipeline: Pipeline, requests: Sequence[TakeRequest], out: Path, batch_size: int = 8
) -> Iterator[Path]:
    """Make takes alike in settings and write each as 24-bit WAV with its JSON file.

    Nothing that is there already is overwritten: a name that is taken gets a number.

    Args:
        pipeline: that makes them.
        requests: takes that differ in prompt, seed and length.
        out: folder that they are written to.
        batch_size: takes made at once; it does not change them.

    Yields:
        The path of each take that is written.

    Raises:
        ValueError: see `Pipeline.takes`; before anything is made for what no take may have.
    """
    pipeline.check(requests)
    make_folder(out)
    for first in range(0, len(requests), batch_size):
        for take, wav in make_takes(pipeline, requests[first : first + batch_size]):
            with new_file(out, f"{take_slug(take.prompt)}-seed{take.seed}") as path:
                write_take(path, wav, take)
            yield path
