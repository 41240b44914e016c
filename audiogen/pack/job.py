"""The job of a pack: every take with its own seed, written down before the first is made."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from audiogen.conditioning.controls import Controls
from audiogen.pack.prompts import TakeSettings, Wish
from audiogen.pipeline import MAX_WINDOWS, MIN_SECONDS, Pipeline
from audiogen.schema import ConfigError
from audiogen.storage import atomic_write_text, digest_of, parse_json
from audiogen.takes.making import shared_settings
from audiogen.takes.request import changed_sampling
from audiogen.takes.sidecar import take_slug
from audiogen.takes.spec import TakeSpec

JOB_FILE = "job.jsonl"
TAKES_FOLDER = "takes"
FILE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
"""What the files of a pack are called, without suffix: nothing that leads out of their folder."""
TAKES_AT_ONCE = 8
"""Takes of a prompt that are chosen together, so that one is not nearly another. It is not the
size of a batch: a choice does not depend on how many sounds are made at once."""
SEED_SPAN = 1_000_000
"""Seeds that prompts give lie below it."""


@dataclass(frozen=True, kw_only=True)
class JobTake:
    """One take of a job.

    Attributes:
        file: its file's name, without suffix.
        spec: what it is made of.
        model: run folder, as it was given.
        model_digest: of that run's model.
        parent: file of the take it was made again from; empty for a take of the list.
        best_of: of how many candidates it is the best.
    """

    file: str
    spec: TakeSpec
    model: str
    model_digest: str
    parent: str = ""
    best_of: int = 1

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that name what it is made of."""
        choice = {"best_of": self.best_of} if self.best_of > 1 else {}
        return digest_of({**self.spec.to_tree(), "model_digest": self.model_digest, **choice})

    @property
    def batch_key(self) -> tuple[object, ...]:
        """What it has in common with takes that are made with it."""
        alike = (self.model_digest, self.best_of, *shared_settings(self.spec))
        return alike if self.best_of == 1 else (*alike, self.spec.prompt)

    def path(self, pack: Path) -> Path:
        """Where it lies in `pack`."""
        return pack / TAKES_FOLDER / f"{self.file}.wav"


def read_job(pack: Path) -> list[JobTake]:
    """Read the takes of a pack's job, in the order in which they were asked for; none is a job too.

    Raises:
        ValueError: the file is damaged; names its line.
    """
    path = pack / JOB_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    lines = text.removesuffix("\n").split("\n")  # prompts may hold other separators of lines
    return [_read_line(line, f"{path}, line {n}") for n, line in enumerate(lines, start=1)]


def write_job(pack: Path, takes: Sequence[JobTake]) -> None:
    """Write the job of a pack, whole or not at all."""
    rows = [
        {
            "file": take.file,
            "model": take.model,
            "model_digest": take.model_digest,
            **({"parent": take.parent} if take.parent else {}),
            **({"best_of": take.best_of} if take.best_of > 1 else {}),
            **take.spec.to_tree(),
        }
        for take in takes
    ]
    text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    atomic_write_text(pack / JOB_FILE, text)


def plan_takes(
    wishes: Sequence[Wish], models: Mapping[str, Pipeline], default_model: str, seed: int
) -> list[JobTake]:
    """Turn wishes into takes, each with its own seed; their files are not named yet.

    A prompt's first seed comes from its text and `seed`, so that a change elsewhere in the list
    changes nothing. Takes of one prompt with the same settings count on from one another.

    Args:
        wishes: of the list.
        models: by the name under which a wish gives them.
        default_model: of wishes that give none.
        seed: moves all seeds that come from prompts.

    Raises:
        ConfigError: a model cannot do what is asked, or takes would be the same; all at once.
    """
    problems: dict[str, None] = {}
    takes: list[JobTake] = []
    seen: dict[str, str] = {}
    counters: dict[str, int] = {}
    for wish in wishes:
        name = wish.settings.model or default_model
        pipeline = models[name]
        try:
            common = _common_spec(wish, pipeline)
        except ConfigError as error:
            problems |= {f"{wish.where}: {line.strip()}": None for line in _details(error)}
            continue
        group = digest_of({**common.to_tree(), "range": wish.settings.seconds, "model": name})
        first = (zlib.crc32(wish.prompt.encode()) + seed) % SEED_SPAN
        if wish.settings.seed is not None:
            first, group = wish.settings.seed, f"{wish.where} {group}"
        before, count = counters.get(group, 0), wish.settings.count or 1
        counters[group] = before + count
        for number in range(first + before, first + before + count):
            spec = replace(common, seed=number, seconds=_seconds(wish, number))
            problem = _length_problem(spec, pipeline)
            if problem:
                problems[f"{wish.where}: {problem}"] = None
            take = JobTake(
                file="",
                spec=spec,
                model=name,
                model_digest=pipeline.digest,
                best_of=wish.settings.best_of or 1,
            )
            other = seen.setdefault(take.key, wish.where)
            if len(seen) == len(takes):
                problems[f"{wish.where}: seed {number} is that of {other} too"] = None
            else:
                takes.append(take)
    if problems:
        raise ConfigError("\n  ".join(["the list of prompts:", *problems]))
    return takes


def add_takes(pack: Path, job: Sequence[JobTake], wanted: Iterable[JobTake]) -> list[JobTake]:
    """Return the job with those of `wanted` that it does not have, each under a name of its own."""
    known = {take.key for take in job}
    names = {take.file for take in job}
    added = []
    for take in wanted:
        if take.key in known:
            continue
        stem = f"{take_slug(take.spec.prompt)}-seed{take.spec.seed}"
        name, number = stem, 2
        while name in names or (pack / TAKES_FOLDER / f"{name}.wav").exists():
            name, number = f"{stem}-{number}", number + 1
        known.add(take.key)
        names.add(name)
        added.append(replace(take, file=name))
    return [*job, *added]


def job_batches(takes: Iterable[JobTake], size: int) -> Iterator[list[JobTake]]:
    """Put takes into batches of `size` that the job alone determines, not what is made already.

    The last bits of a take depend on the shape of its batch. A job that goes on makes the same
    batches, so that its takes are those of a job that was never stopped. Takes that are the best of
    several are chosen together by prompt, whatever `size` is.
    """
    groups: dict[tuple[object, ...], list[JobTake]] = {}
    for take in takes:
        groups.setdefault(take.batch_key, []).append(take)
    for group in groups.values():
        step = size if group[0].best_of == 1 else TAKES_AT_ONCE
        for first in range(0, len(group), step):
            yield group[first : first + step]


def _common_spec(wish: Wish, pipeline: Pipeline) -> TakeSpec:
    given = wish.settings
    changes = {"guidance_scale": given.guidance_scale, "steps": given.steps}
    return TakeSpec(
        prompt=wish.prompt,
        seed=0,
        seconds=0.0,
        sampling=changed_sampling(pipeline.config.sample, changes),
        negative_prompt=given.negative_prompt or "",
        controls=_known_controls(given, pipeline),
        loop=bool(given.loop),
        tempo=wish.tempo,
    )


def _known_controls(given: TakeSettings, pipeline: Pipeline) -> Controls:
    """Return the controls of a wish; ConfigError for one that the model does not know."""
    controls = {str(name): value for name, value in (given.controls or {}).items()}
    pipeline.config.generator.conditioner.numbers(controls)
    return controls


def _seconds(wish: Wish, seed: int) -> float:
    """Length of the take of a seed: that of the bars, or one in the range."""
    if wish.tempo is not None:
        return wish.tempo.seconds
    low, high = wish.settings.seconds or (5.0, 5.0)
    share = zlib.crc32(f"{seed} {wish.prompt}".encode()) / (1 << 32)
    return low if low == high else round(low + share * (high - low), 2)


def _length_problem(spec: TakeSpec, pipeline: Pipeline) -> str:
    latents = pipeline.codec.spec
    least = 2 / latents.frame_rate if spec.loop else MIN_SECONDS
    most = MAX_WINDOWS * pipeline.config.clip_seconds
    if least <= spec.seconds <= most:
        return ""
    return f"seconds={spec.seconds:g}: {pipeline.config.name} makes {least:.3g} to {most:g} s"


def _details(error: ConfigError) -> list[str]:
    """The mistakes that a ConfigError lists, without its first line."""
    return str(error).splitlines()[1:] or [str(error)]


def _read_line(line: str, source: str) -> JobTake:
    try:
        row: dict[str, Any] = parse_json(line, source)
        return JobTake(
            file=_file_name(row["file"]),
            spec=TakeSpec.from_tree(row, source),
            model=str(row["model"]),
            model_digest=str(row["model_digest"]),
            parent=str(row.get("parent", "")),
            best_of=_count(row.get("best_of", 1)),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{source}: damaged ({error}); put the file back as it was") from None


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise TypeError(f"no take is the best of {value!r:.60}")
    return value


def _file_name(value: object) -> str:
    if not isinstance(value, str) or not FILE_NAME.fullmatch(value):
        raise TypeError(f"no file of a pack is called {value!r:.60}")
    return value
