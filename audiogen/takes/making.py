"""From requests to takes: batches of the model, and loops whose seam is heard once more."""

from __future__ import annotations

import logging
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
"""How often a loop whose seam is heard is made again, at most."""
REMAKE_STEP = 1_000_000
"""From a loop's seed to that of its next try: which seed stands in for which does not depend on
what else is made."""
_log = logging.getLogger(__name__)

Made = tuple[Take, Tensor]
"""A take that can be written, and its sound (C, T)."""


def make_takes(pipeline: Pipeline, requests: Sequence[TakeRequest]) -> list[Made]:
    """Make one batch of takes, and loops whose seam is heard again, at most eight times.

    If none of a loop's seams passes, the best is kept; the log says so. What has a rate of its own
    is a take that was chosen before, and keeps its seed.

    Raises:
        ValueError: see `Pipeline.takes`.
    """
    best: dict[int, Made] = {}
    scores: dict[int, float] = {}
    left = dict(enumerate(requests))
    for tries in range(1, MAX_REMAKES + 2):
        tried = make_batch(pipeline, list(left.values()))
        for slot, (take, wav) in zip(tuple(left), tried, strict=True):
            score = 0.0 if take.seam is None else take.seam.score
            if slot not in scores or score < scores[slot]:
                scores[slot], best[slot] = score, (take, wav)
            if take.seam is None or take.seam.passes or take.rate is not None:
                del left[slot]
            elif tries <= MAX_REMAKES:
                seed = later_seed(take.seed, REMAKE_STEP)
                left[slot] = left[slot].model_copy(update={"seed": seed})
                text = "seed %d -> %d: the seam was heard (%.60s)"
                _log.info(text, take.seed, seed, take.prompt)
            else:
                text = "seed %d: the seam is heard in each of %d takes; that of seed %d is kept"
                _log.warning(text, requests[slot].seed, tries, best[slot][0].seed)
        if not left:
            break
    return [best[slot] for slot in range(len(requests))]


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
