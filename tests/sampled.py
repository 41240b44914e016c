"""Takes of a small model as files, as `audiogen sample` writes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audiogen.generators import changed_sampling
from audiogen.pipeline import Pipeline
from audiogen.take_request import TakeRequest
from audiogen.takes.making import write_takes


def sampled(
    run: Path,
    out: Path,
    *,
    prompts: Sequence[str] = ("rain",),
    count: int = 1,
    seed: int = 0,
    sampling: Mapping[str, Any] | None = None,
    batch_size: int = 8,
    **asked: Any,
) -> list[Path]:
    """Write `count` takes of each prompt to `out`; return their paths."""
    pipeline = Pipeline.from_pretrained(run)
    tempo = asked.get("tempo")
    requests = TakeRequest.of_each(
        prompts,
        range(seed, seed + count),
        sampling=changed_sampling(pipeline.config.sample, sampling or {}),
        **{"seconds": 1.0 if tempo is None else tempo.seconds, **asked},
    )
    return list(write_takes(pipeline, requests, out, batch_size=batch_size))
