"""Sounds that are made again, with other seeds, until there is nothing wrong with them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from audiogen.audio.loops import Seam, measure_seam
from audiogen.seeds import later_seed
from audiogen.take_request import TakeRequest

MOST_TRIES = 9
"""How often a sound is made, at most."""
REMAKE_STEP = 1_000_000
"""From a take's seed to that of its next try: which seed stands in for which does not depend on
what else is made."""
SILENT_PEAK = 1e-3
"""Of a take (-60 dBFS) that is silent. Others end at -23 LUFS or with a peak of -1 dBFS."""
HEARD = 1.0
"""Least weight of a fault that anyone hears; below it lies what one recogniser thinks."""
_log = logging.getLogger(__name__)

Render = Callable[[Sequence[TakeRequest]], list[Tensor]]
"""Makes a batch: a sound (C, T) of each request."""
Recognise = Callable[[TakeRequest, Tensor], float]
"""How probably a sound (C, T) is what its request names; 1 where that is enough."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A sound as it was made.

    Attributes:
        request: what it was made of: of all that was asked for, another seed at most.
        wav: (C, T).
        seam: of a loop.
        batch: what was made at once, the request included.
        place: of the request among them.
        weight: how bad it is; zero where nothing is wrong with it.
        fault: what is wrong with it.
    """

    request: TakeRequest
    wav: Tensor
    seam: Seam | None
    batch: tuple[TakeRequest, ...]
    place: int
    weight: float
    fault: str


def draw(
    requests: Sequence[TakeRequest],
    render: Render,
    recognise: Recognise,
    sample_rate: int,
    *,
    tries: int = MOST_TRIES,
) -> list[Drawn]:
    """Make sounds; again, with other seeds, what is silent, has a seam or is not recognised.

    If none of the tries passes, the best is kept, and the log says so. What has a rate of its own
    is a take that was chosen before, and keeps its seed.

    Args:
        requests: of sounds that one batch can hold.
        render: makes them, the same sound of a request in any batch.
        recognise: see `Recognise`.
        sample_rate: Hz, of sounds without a rate of their own.
        tries: for each sound, at most.
    """
    best: dict[int, Drawn] = {}
    left = dict(enumerate(requests))
    for number in range(1, tries + 1):
        batch = tuple(left.values())
        for place, (slot, wav) in enumerate(zip(tuple(left), render(batch), strict=True)):
            request = batch[place]
            seam = measure_seam(wav, request.rate or sample_rate) if request.loop else None
            weight, fault = _fault(request, wav, seam, recognise)
            made = Drawn(
                request=request,
                wav=wav,
                seam=seam,
                batch=batch,
                place=place,
                weight=weight,
                fault=fault,
            )
            if slot not in best or weight < best[slot].weight:
                best[slot] = made
            if not weight or request.rate is not None or tries == 1:
                del left[slot]
            elif number < tries:
                seed = later_seed(request.seed, REMAKE_STEP)
                left[slot] = request.model_copy(update={"seed": seed})
                level = logging.DEBUG if weight < HEARD else logging.INFO
                said = "seed %d -> %d: %s (%.60s)"
                _log.log(level, said, request.seed, seed, fault, request.prompt)
            else:
                kept = best[slot]
                level = logging.INFO if kept.weight < HEARD else logging.WARNING
                said = "seed %d: none of %d takes passes; that of seed %d is kept, and %s"
                _log.log(level, said, requests[slot].seed, tries, kept.request.seed, kept.fault)
        if not left:
            break
    return [best[slot] for slot in range(len(requests))]


def _fault(
    request: TakeRequest, wav: Tensor, seam: Seam | None, recognise: Recognise
) -> tuple[float, str]:
    """How bad a sound is, zero for one that passes, and what is wrong with it."""
    if float(wav.abs().max()) < SILENT_PEAK:
        return math.inf, "it is silent"
    if seam is not None and not seam.passes:
        return max(HEARD, seam.score), "its seam is heard"
    share = recognise(request, wav)
    return (HEARD - share, f"the recogniser gives it {share:.0%}") if share < 1 else (0.0, "")
