"""The job of a pack: every take with its own seed, written down before the first is made."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from audiogen.pack.prompts import Entry
from audiogen.pipeline import Pipeline
from audiogen.schema import ConfigError
from audiogen.storage import atomic_write_text, digest_of, parse_json
from audiogen.takes.making import changed_sampling
from audiogen.takes.take import Take, take_slug

JOB_FILE = "job.jsonl"
TAKES_FOLDER = "takes"
FILE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
"""What the files of a pack are called, without suffix: nothing that leads out of their folder."""
TAKES_AT_ONCE = 8
"""Takes of a prompt that are chosen together, so that one is not nearly another. It is not the
size of a batch: a choice does not depend on how many sounds are made at once."""
SEED_SPAN = 1_000_000
"""Seeds that prompts give lie below it."""


def take_path(pack: Path, take: Take) -> Path:
    """Where the sound of a take lies in `pack`."""
    return pack / TAKES_FOLDER / f"{take.file}.wav"


def read_job(pack: Path) -> list[Take]:
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


def write_job(pack: Path, takes: Sequence[Take]) -> None:
    """Write the job of a pack, whole or not at all."""
    rows = (json.dumps(one.to_tree(), ensure_ascii=False, allow_nan=False) for one in takes)
    text = "".join(f"{row}\n" for row in rows)
    atomic_write_text(pack / JOB_FILE, text)


def plan_takes(
    entries: Sequence[tuple[str, Entry]],
    models: Mapping[str, Pipeline],
    default_model: str,
    seed: int,
) -> list[Take]:
    """Turn prompts into takes, each with its own seed; their files are not named yet.

    A prompt's first seed comes from its text and `seed`, so that a change elsewhere in the list
    changes nothing. Takes of one prompt with the same settings count on from one another.

    Args:
        entries: of the list, each with its place there.
        models: by the name under which an entry gives them.
        default_model: of entries that give none.
        seed: moves all seeds that come from prompts.

    Raises:
        ConfigError: a model cannot do what is asked, or takes would be the same; all at once.
    """
    problems: dict[str, None] = {}
    seen: dict[str, str] = {}
    takes: list[Take] = []
    counters: dict[str, int] = {}
    for where, entry in entries:
        run = entry.model or default_model
        try:
            common = _common(entry, run, models[run])
        except ConfigError as error:
            problems |= {f"{where}: {line.strip()}": None for line in _details(error)}
            continue
        group = digest_of({**common.to_tree(), "range": entry.seconds})
        first = (zlib.crc32(common.prompt.encode()) + seed) % SEED_SPAN
        if entry.seed is not None:
            first, group = entry.seed, f"{where} {group}"
        before, count = counters.get(group, 0), entry.count or 1
        counters[group] = before + count
        for number in range(first + before, first + before + count):
            changes = {"seed": number, "seconds": _seconds(entry, common.prompt, number)}
            take = common.model_copy(update=changes)
            problem = models[run].length_problem(take)
            if problem:
                problems[f"{where}: {problem}"] = None
            other = seen.setdefault(take.key, where)
            if len(seen) == len(takes):
                problems[f"{where}: seed {number} is that of {other} too"] = None
            else:
                takes.append(take)
    if problems:
        raise ConfigError("\n  ".join(["the list of prompts:", *problems]))
    return takes


def add_takes(pack: Path, job: Sequence[Take], wanted: Iterable[Take]) -> list[Take]:
    """Return the job with those of `wanted` that it does not have, each under a name of its own."""
    known = {take.key for take in job}
    names = {take.file for take in job}
    added = []
    for take in wanted:
        if take.key in known:
            continue
        stem = f"{take_slug(take.prompt)}-seed{take.seed}"
        name, number = stem, 2
        while name in names or (pack / TAKES_FOLDER / f"{name}.wav").exists():
            name, number = f"{stem}-{number}", number + 1
        known.add(take.key)
        names.add(name)
        added.append(take.model_copy(update={"file": name}))
    return [*job, *added]


def job_batches(takes: Iterable[Take], size: int) -> Iterator[list[Take]]:
    """Put takes into batches of `size` that the job alone determines, not what is made already.

    The last bits of a take depend on the shape of its batch. A job that goes on makes the same
    batches, so that its takes are those of a job that was never stopped. Takes that are the best of
    several are chosen together by prompt, whatever `size` is.
    """
    groups: dict[tuple[object, ...], list[Take]] = {}
    for take in takes:
        key = (take.model_digest, take.best_of, *take.batch_key)
        chosen_together = take.prompt if take.best_of > 1 else ""
        groups.setdefault((*key, chosen_together), []).append(take)
    for group in groups.values():
        step = size if group[0].best_of == 1 else TAKES_AT_ONCE
        for first in range(0, len(group), step):
            yield group[first : first + step]


def _common(entry: Entry, run: str, pipeline: Pipeline) -> Take:
    """What all takes of an entry have; ConfigError for what its model does not know."""
    changes = {"guidance_scale": entry.guidance_scale, "steps": entry.steps}
    controls = {str(name): value for name, value in (entry.controls or {}).items()}
    pipeline.config.generator.conditioner.numbers(controls)
    return Take(
        prompt=entry.prompt or "",
        seed=0,
        seconds=0.0,
        sampling=changed_sampling(pipeline.config.sample, changes),
        negative_prompt=entry.negative_prompt or "",
        controls=controls,
        loop=bool(entry.loop),
        tempo=entry.tempo,
        best_of=entry.best_of or 1,
        run=run,
        model_digest=pipeline.digest,
    )


def _seconds(entry: Entry, prompt: str, seed: int) -> float:
    """Length of the take of a seed: that of the bars, or one in the range."""
    if entry.tempo is not None:
        return entry.tempo.seconds
    low, high = entry.seconds or (5.0, 5.0)
    share = zlib.crc32(f"{seed} {prompt}".encode()) / (1 << 32)
    return low if low == high else round(low + share * (high - low), 2)


def _details(error: ConfigError) -> list[str]:
    """The mistakes that a ConfigError lists, without its first line."""
    return str(error).splitlines()[1:] or [str(error)]


def _read_line(line: str, source: str) -> Take:
    take = Take.from_tree(parse_json(line, source), source)
    if not FILE_NAME.fullmatch(take.file) or not take.run or not take.model_digest:
        raise ConfigError(
            f"{source}: damaged; no take of a pack has file {take.file!r:.60}, run {take.run!r:.60}"
            f" and model_digest {take.model_digest!r:.20}\n"
            "  put the file back as it was"
        )
    return take
