"""Takes: prompts and seeds to files, each beside what it was made of."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from audiogen.audio.files import write_audio
from audiogen.audio.loops import Seam, measure_seam
from audiogen.generators import SamplingConfig, parse_sampling
from audiogen.pipeline import Pipeline
from audiogen.sidecar import take_sidecar, take_slug

MAX_REMAKES = 8
"""How often a loop whose seam is heard is made again, at most."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Tempo:
    """Length of a loop in music: `bars` of `beats_per_bar` beats, `bpm` of them per minute."""

    bpm: float
    bars: int
    beats_per_bar: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.bpm <= 999 or self.bars < 1 or self.beats_per_bar < 1:
            raise ValueError(
                "expected bpm 1 to 999, bars >= 1 and beats_per_bar >= 1, got"
                f" {self.bpm:g}, {self.bars}, {self.beats_per_bar}"
            )

    @property
    def seconds(self) -> float:
        """Length of the loop."""
        return self.bars * self.beats_per_bar * 60 / self.bpm


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


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """A sound (C, T) that may be written, the seed it was made of, and a loop's seam."""

    wav: Tensor
    seed: int
    seam: Seam | None


@dataclass(kw_only=True)
class _Job:
    """One take to make: of which prompt and seed, and the best that came of it so far."""

    slot: int
    prompt: str
    asked: int
    seed: int
    remakes: int = 0
    best: _Kept | None = None

    def keep(self, wav: Tensor, seam: Seam | None) -> _Kept:
        """Take note of what was made; return the best so far."""
        best = self.best
        if best is None or best.seam is None or seam is None or seam.score < best.seam.score:
            best = _Kept(wav=wav, seed=self.seed, seam=seam)
        self.best = best
        return best

    def is_over(self, best: _Kept) -> bool:
        """Whether `best` can be kept, or must be."""
        return best.seam is None or best.seam.passes or self.remakes == MAX_REMAKES


def write_takes(run: Path, request: TakesRequest) -> list[Path]:
    """Generate takes and write each as 24-bit WAV with a JSON sidecar; return the WAV paths.

    Nothing that is there already is overwritten: a name that is taken gets a number. A loop whose
    seam is heard is made again with the next seed that is free, at most eight times, and the log
    says so; if none of them passes, the best is kept.
    """
    pipeline = Pipeline.from_pretrained(run)
    sampling = changed_sampling(pipeline.config.sample, request.sampling)
    request.out.mkdir(parents=True, exist_ok=True)
    seeds = range(request.seed, request.seed + request.count)
    wanted = [(prompt, seed) for prompt in request.prompts for seed in seeds]
    queue = deque(
        _Job(slot=slot, prompt=prompt, asked=seed, seed=seed)
        for slot, (prompt, seed) in enumerate(wanted)
    )
    # First in, first out: which seed stands in for which does not depend on the batch size.
    free = {prompt: itertools.count(seeds.stop) for prompt in request.prompts}
    paths: dict[int, Path] = {}
    while queue:
        part = [queue.popleft() for _ in range(min(request.batch_size, len(queue)))]
        for job, wav in zip(part, _make(pipeline, part, request, sampling), strict=True):
            rate = pipeline.codec.spec.sample_rate
            best = job.keep(wav, measure_seam(wav, rate) if request.loop else None)
            if job.is_over(best):
                paths[job.slot] = _write(pipeline, job, best, request, sampling)
            else:
                before, job.seed = job.seed, next(free[job.prompt])
                job.remakes += 1
                _log.info("seed %d -> %d: the seam was heard (%s)", before, job.seed, job.prompt)
                queue.append(job)
    return [paths[slot] for slot in sorted(paths)]


def _make(
    pipeline: Pipeline, jobs: Sequence[_Job], request: TakesRequest, sampling: SamplingConfig
) -> Sequence[Tensor]:
    """Sound (C, T) of each of `jobs`."""
    prompts, seeds = [job.prompt for job in jobs], [job.seed for job in jobs]
    negative = request.negative_prompt
    if request.to_end:
        return pipeline.takes_to_end(
            prompts, max_seconds=request.length, seeds=seeds, sampling=sampling,
            negative_prompt=negative,
        )  # fmt: skip
    make = pipeline.loops if request.loop else pipeline
    made = make(
        prompts, seconds=request.length, seeds=seeds, sampling=sampling, negative_prompt=negative
    )
    return list(made)


def _write(
    pipeline: Pipeline, job: _Job, best: _Kept, request: TakesRequest, sampling: SamplingConfig
) -> Path:
    """Write the best that came of a job; return its path."""
    wav, seed, seam = best.wav, best.seed, best.seam
    rate = pipeline.codec.spec.sample_rate
    seconds = wav.shape[1] / rate if request.to_end else request.length
    sidecar = take_sidecar(pipeline, job.prompt, seed, seconds, sampling)
    if request.to_end:
        sidecar["ended_within_seconds"] = request.length
    if request.negative_prompt:
        sidecar["negative_prompt"] = request.negative_prompt
    if seam is not None:
        if not seam.passes:
            text = "seed %d: the seam is heard in each of %d takes; that of seed %d is kept"
            _log.warning(text, job.asked, 1 + job.remakes, seed)
        tempo = {} if request.tempo is None else asdict(request.tempo)
        sidecar["loop"] = {"samples": wav.shape[1], **tempo}
        sidecar["seam"] = seam_report(seam)
    path = free_path(request.out, f"{take_slug(job.prompt)}-seed{seed}")
    write_audio(path, wav, rate, sidecar=sidecar)
    return path


def seam_report(seam: Seam) -> dict[str, Any]:
    """What a sidecar tells of a loop's seam: all its numbers, rounded, and the verdict."""
    numbers = {**asdict(seam), "score": seam.score}
    return {**{name: round(value, 4) for name, value in numbers.items()}, "passes": seam.passes}


def changed_sampling(sampling: SamplingConfig, changes: Mapping[str, Any]) -> SamplingConfig:
    """Return `sampling` with the changes that are not None; ConfigError names a wrong one."""
    given = {name: value for name, value in changes.items() if value is not None}
    tree = {**sampling.model_dump(), **given}
    return parse_sampling(tree, source="sample")


def free_path(folder: Path, stem: str, suffix: str = ".wav") -> Path:
    """Return `stem` with `suffix` in `folder`, or with a number behind when that is taken."""
    path, number = folder / f"{stem}{suffix}", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}{suffix}", number + 1
    return path
