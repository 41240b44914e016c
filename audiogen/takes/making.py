"""From requests to takes: what a model makes of them, with all that is told of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from audiogen.locking import new_file
from audiogen.pipeline import Pipeline
from audiogen.remaking import Drawn
from audiogen.storage import make_folder
from audiogen.take_request import TakeRequest
from audiogen.takes.take import Batch, Take, take_slug, write_take

Made = tuple[Take, Tensor]
"""A take that can be written, and its sound (C, T)."""


def make_takes(pipeline: Pipeline, requests: Sequence[TakeRequest]) -> list[Made]:
    """Make takes that one batch can hold, and again what is no good; see `Pipeline.drawn`."""
    drawn = pipeline.drawn(requests)
    return [_made(pipeline, *pair) for pair in zip(requests, drawn, strict=True)]


def make_batch(pipeline: Pipeline, requests: Sequence[TakeRequest]) -> list[Made]:
    """Make one batch of takes as they come; of the same batch always the same samples.

    Raises:
        ValueError: see `Pipeline.takes`.
    """
    drawn = pipeline.drawn(requests, tries=1)
    return [_made(pipeline, *pair) for pair in zip(requests, drawn, strict=True)]


def _made(pipeline: Pipeline, asked: TakeRequest, drawn: Drawn) -> Made:
    facts: dict[str, Any] = {"seam": drawn.seam}
    if drawn.request.seed != asked.seed:
        facts["asked_seed"] = asked.seed
    if len(drawn.batch) > 1:
        together = tuple((one.prompt, one.seed, one.seconds) for one in drawn.batch)
        facts["batch"] = Batch(place=drawn.place, takes=together)
    return Take.made_by(pipeline, drawn.request, **facts), drawn.wav


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
