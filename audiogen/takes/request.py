"""Takes of `audiogen sample`: prompts and seeds to files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audiogen.conditioning.controls import Controls
from audiogen.generators import SamplingConfig, parse_sampling
from audiogen.pipeline import Pipeline
from audiogen.storage import free_path
from audiogen.takes.making import make_takes, write_take
from audiogen.takes.sidecar import take_slug
from audiogen.takes.spec import TakeSpec, Tempo


@dataclass(frozen=True, kw_only=True)
class TakesRequest:
    """What `audiogen sample` is asked for.

    Attributes:
        prompts: texts; each gives `count` takes.
        seconds: length of every take; a tempo sets it instead.
        count: takes per prompt, of the seeds `seed` to `seed + count - 1`.
        seed: of each prompt's first take.
        out: folder that the takes are written to.
        negative_prompt: what guidance leads away from.
        loop: whether the takes are seamless loops.
        tempo: of loops whose length is counted in bars.
        to_end: whether each take ends where the model ends it, at `seconds` at the latest.
        sampling: settings that differ from the model's own.
        controls: how the takes should sound, of those that the model knows.
        batch_size: takes made at once; it does not change them.
    """

    prompts: Sequence[str]
    seconds: float
    count: int
    seed: int
    out: Path
    negative_prompt: str = ""
    loop: bool = False
    tempo: Tempo | None = None
    to_end: bool = False
    sampling: Mapping[str, Any] = field(default_factory=dict)
    controls: Controls = field(default_factory=dict)
    batch_size: int = 8

    def __post_init__(self) -> None:
        if self.count < 1 or self.batch_size < 1 or self.seed < 0 or not self.prompts:
            raise ValueError(
                "expected at least one prompt, count >= 1, batch_size >= 1 and seed >= 0, got"
                f" {len(self.prompts)}, {self.count}, {self.batch_size}, {self.seed}"
            )
        if self.tempo is not None and not self.loop:
            raise ValueError("a tempo is for loops: give --loop with --bpm and --bars")
        if self.to_end and self.loop:
            raise ValueError("a loop has no end: give --loop or --to-end")

    @property
    def length(self) -> float:
        """Seconds of every take."""
        return self.seconds if self.tempo is None else self.tempo.seconds


def write_takes(run: Path, request: TakesRequest) -> list[Path]:
    """Generate takes and write each as 24-bit WAV with a JSON sidecar; return the WAV paths.

    Nothing that is there already is overwritten: a name that is taken gets a number. A loop whose
    seam is heard is made again with another seed, and the log says so (`make_takes`).
    """
    pipeline = Pipeline.from_pretrained(run)
    sampling = changed_sampling(pipeline.config.sample, request.sampling)
    pipeline.config.generator.conditioner.numbers(request.controls)  # before anything is made
    request.out.mkdir(parents=True, exist_ok=True)
    specs = [
        TakeSpec(
            prompt=prompt,
            seed=seed,
            seconds=request.length,
            sampling=sampling,
            negative_prompt=request.negative_prompt,
            loop=request.loop,
            tempo=request.tempo,
            to_end=request.to_end,
            controls=request.controls,
        )
        for prompt in request.prompts
        for seed in range(request.seed, request.seed + request.count)
    ]
    paths = []
    for first in range(0, len(specs), request.batch_size):
        for made in make_takes(pipeline, specs[first : first + request.batch_size]):
            path = free_path(request.out, f"{take_slug(made.spec.prompt)}-seed{made.spec.seed}")
            write_take(pipeline, made, path)
            paths.append(path)
    return paths


def changed_sampling(sampling: SamplingConfig, changes: Mapping[str, Any]) -> SamplingConfig:
    """Return `sampling` with the changes that are not None; ConfigError names a wrong one."""
    given = {name: value for name, value in changes.items() if value is not None}
    tree = {**sampling.model_dump(), **given}
    return parse_sampling(tree, source="sample")
