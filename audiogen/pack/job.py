"""The job of a pack: every take, written down before the first is made."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

from audiogen.locking import in_turn
from audiogen.run_folder import model_folders
from audiogen.schema import ConfigError
from audiogen.storage import atomic_write_text, make_folder, parse_json, remove_leftovers
from audiogen.takes.take import Take, take_slug

JOB_FILE = "job.jsonl"
TAKES_FOLDER = "takes"
FILE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
"""What the files of a pack are called, without suffix: nothing that leads out of their folder."""
TAKES_AT_ONCE = 8
"""Takes of a prompt that are chosen together, so that one is not nearly another. It is not the
size of a batch: a choice does not depend on how many sounds are made at once."""


def take_path(pack: Path, take: Take) -> Path:
    """Where the sound of a take lies in `pack`."""
    return pack / TAKES_FOLDER / f"{take.file}.wav"


def read_job(pack: Path) -> list[Take]:
    """Read the takes of a pack's job, in the order in which they were asked for; none is a job too.

    Their runs are where they lie now, whatever the working directory is.

    Raises:
        ValueError: the file is damaged; names its line.
    """
    path = pack / JOB_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    lines = text.removesuffix("\n").split("\n")  # prompts may hold other separators of lines
    takes = [_read_line(line, f"{path}, line {n}") for n, line in enumerate(lines, start=1)]
    runs = {run: _find_run(pack, run) for run in {take.run for take in takes}}
    return [take.model_copy(update={"run": runs[take.run]}) for take in takes]


def write_job(pack: Path, takes: Sequence[Take]) -> None:
    """Write the job of a pack, whole or not at all; whole paths of runs become relative to it."""
    home = pack.resolve()
    trees = (one.to_tree() | {"run": _run_from(home, one.run)} for one in takes)
    rows = (json.dumps(tree, ensure_ascii=False, allow_nan=False) for tree in trees)
    text = "".join(f"{row}\n" for row in rows)
    atomic_write_text(pack / JOB_FILE, text)


def update_job(pack: Path, wanted: Iterable[Take], digests: Mapping[str, str]) -> None:
    """Add to the job those of `wanted` that it does not have, each under a name of its own.

    Args:
        pack: its folder, made if missing; what killed processes left half-written there goes.
        wanted: takes.
        digests: of the models that are at hand, by the name of their run.

    Raises:
        ValueError: the job is damaged, or a run's model has changed since it was begun; nothing
            is changed then.
    """
    job = read_job(pack)
    check_models(job, digests)
    make_folder(pack / TAKES_FOLDER)
    remove_leftovers(pack / TAKES_FOLDER)
    remove_leftovers(pack)
    known = {take.key for take in job}
    names = {take.file for take in job}
    added = []
    for take in wanted:
        if take.key in known:
            continue
        name = _free_name(pack, take, names)
        known.add(take.key)
        names.add(name)
        added.append(take.model_copy(update={"file": name}))
    if added:
        write_job(pack, [*job, *added])


def rename_take(pack: Path, planned: Take, made: Take) -> Take:
    """Give a take that was made at another seed than planned a name that holds its own.

    It is to be written under the name after that: a job that was stopped between the two makes it
    again, under this name.
    """
    if made.seed == planned.seed:
        return planned
    with in_turn(pack):
        job = read_job(pack)
        names = {take.file for take in job} - {planned.file}
        renamed = planned.model_copy(update={"file": _free_name(pack, made, names)})
        write_job(pack, [renamed if take.key == planned.key else take for take in job])
    return renamed


def _free_name(pack: Path, take: Take, names: Set[str]) -> str:
    """A name for a take that is not among `names`, and is no file yet."""
    stem = f"{take_slug(take.prompt)}-seed{take.seed}"
    name, number = stem, 2
    while name in names or (pack / TAKES_FOLDER / f"{name}.wav").exists():
        name, number = f"{stem}-{number}", number + 1
    return name


def _run_from(home: Path, run: str) -> str:
    """A run's path as a row keeps it: found again when the pack and the run are moved together."""
    return Path(os.path.relpath(run, home)).as_posix() if Path(run).is_absolute() else run


def _find_run(pack: Path, run: str) -> str:
    """Where the run of a row lies: from the pack, from here, or from a folder around the pack."""
    home, here = pack.resolve(), Path.cwd()
    inner = Path(*(part for part in Path(run).parts if part != ".."))
    bases = (here, *home.parents)
    places = [
        os.path.normpath(one) for one in (home / run, here / run, *(b / inner for b in bases))
    ]
    return next((place for place in places if model_folders(Path(place))), run)


def check_models(takes: Iterable[Take], digests: Mapping[str, str]) -> None:
    """Raise ValueError when a run's model is another one than when the job was written."""
    for take in takes:
        now = digests.get(take.run, take.model_digest)
        if now != take.model_digest and take.model_digest not in digests.values():
            raise ValueError(
                f"{take.run}: its model has changed since this pack was begun\n"
                f"  takes were made by {take.model_digest}, now it is {now}\n"
                "  give another --out for the new model, or put the old one back"
            )


def open_batches(job: Iterable[Take], missing: Iterable[Take], size: int) -> list[list[Take]]:
    """Return the batches of `size` takes in which any is missing.

    What is made together is determined by the job alone, not by what is made already: the last
    bits of a take depend on the shape of its batch, and a job that goes on makes the takes of a job
    that was never stopped. Takes that are the best of several are chosen together by prompt,
    whatever `size` is.
    """
    groups: dict[tuple[object, ...], list[Take]] = {}
    for take in job:
        key = (take.model_digest, take.best_of, *take.batch_key)
        chosen_together = take.prompt if take.best_of > 1 else ""
        groups.setdefault((*key, chosen_together), []).append(take)
    batches = []
    for group in groups.values():
        step = size if group[0].best_of == 1 else TAKES_AT_ONCE
        batches += [group[first : first + step] for first in range(0, len(group), step)]
    names = {take.file for take in missing}
    return [batch for batch in batches if names & {take.file for take in batch}]


def _read_line(line: str, source: str) -> Take:
    take = Take.from_tree(parse_json(line, source), source)
    if not FILE_NAME.fullmatch(take.file) or not take.run or not take.model_digest:
        raise ConfigError(
            f"{source}: damaged; no take of a pack has file {take.file!r:.60}, run {take.run!r:.60}"
            f" and model_digest {take.model_digest!r:.20}\n"
            "  put the file back as it was"
        )
    return take
