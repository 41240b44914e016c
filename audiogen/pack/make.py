"""Packs in the making: a list of prompts to takes, by one process or many, stopped at any time."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from audiogen.devices import usable_device
from audiogen.locking import hold
from audiogen.pack.choosing import Chooser
from audiogen.pack.curation.store import making_cards
from audiogen.pack.job import (
    check_models,
    open_batches,
    read_job,
    rename_take,
    take_path,
    update_job,
)
from audiogen.pack.progress import show_progress
from audiogen.pack.prompts import plan_takes, read_prompts
from audiogen.pipeline import Pipeline
from audiogen.takes.making import make_takes
from audiogen.takes.take import Take, write_take

SHOWN_PROMPTS = 5
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Which of several processes on a job this is.

    Attributes:
        rank: from 0; the first writes the job.
        count: of processes.
        wait: returns when all processes have called it.
        device: to make takes on.
    """

    rank: int = 0
    count: int = 1
    wait: Callable[[], None] = lambda: None
    device: str = "cpu"

    @classmethod
    def launched(cls) -> Worker:
        """The one that `accelerate launch` made of this process; alone without it."""
        from accelerate import PartialState  # noqa: PLC0415 (slow to import)

        # Without `cpu`, processes on machines that have no GPU would not be joined.
        state = PartialState(cpu=usable_device().type == "cpu")
        if state.process_index:  # the first alone says what happens
            logging.getLogger("audiogen").setLevel(logging.ERROR)
        return cls(
            rank=state.process_index,
            count=state.num_processes,
            wait=state.wait_for_everyone,
            device=str(state.device),
        )

    def holding(self, pack: Path) -> AbstractContextManager[None]:
        """Hold a pack, which the first process does for all; BusyError where it is held."""
        return hold(pack, "making takes in this pack") if self.rank == 0 else nullcontext()


@dataclass(frozen=True, kw_only=True)
class Done:
    """What came of a job: its takes that were wanted, and how many were there before."""

    takes: Sequence[Take]
    there_before: int


def make_pack(
    prompts: Path,
    options: Mapping[str, Any],
    *,
    model: Path,
    out: Path,
    worker: Worker,
    seed: int = 0,
    batch_size: int = 8,
) -> Done:
    """Make the takes of a list of prompts that are not there yet.

    Nothing that is there is changed. Takes of prompts that have left the list stay, and the log
    names them. Takes made again from others (`texture redo`) that are missing are made as well.

    Args:
        prompts: the list.
        options: settings that hold where the list says nothing.
        model: run folder of prompts that name none.
        out: the pack.
        worker: which process this is, of how many.
        seed: moves all seeds that come from prompts.
        batch_size: takes made at once.

    Raises:
        ConfigError: all mistakes in the list.
        FileNotFoundError: a model is not there.
        BusyError: another process is making takes in this pack.
    """
    entries = [
        (where, entry.model_copy(update={"model": _whole_path(entry.model or str(model))}))
        for where, entry in read_prompts(prompts, options)
    ]
    names = dict.fromkeys(str(entry.model) for _, entry in entries)
    models = {name: Pipeline.from_pretrained(name, device=worker.device) for name in names}
    planned = plan_takes(entries, models, str(model), seed)
    with worker.holding(out):
        planned += [take for take in read_job(out) if take.parent]
        done = run_job(out, planned, models, worker, batch_size)
        if worker.rank == 0:
            _report_unlisted(out, done.takes)
    return done


def run_job(
    pack: Path,
    wanted: Sequence[Take],
    models: Mapping[str, Pipeline],
    worker: Worker,
    batch_size: int,
) -> Done:
    """Write down what is wanted, then make what is missing, each take once.

    Args:
        pack: its folder, which the first process holds.
        wanted: takes; those that the job does not have are added to it.
        models: by name; those that the job names besides are loaded.
        worker: which process this is, of how many.
        batch_size: takes made at once.
    """
    if worker.rank == 0:
        update_job(pack, wanted, _digests(models))
    worker.wait()
    job, keys = read_job(pack), {take.key for take in wanted}
    asked = [take for take in job if take.key in keys]
    missing = [take for take in asked if not take_path(pack, take).exists()]
    batches = open_batches(job, missing, batch_size)[worker.rank :: worker.count]
    worker.wait()  # all have looked before anyone writes, so that they share the same batches out
    there, names = len(asked) - len(missing), {take.file for take in missing}
    if batches:
        work = _with_models(batches, models, worker.device)
        with (
            making_cards(pack, job) as make_card,
            show_progress("takes", len(asked), there) as update,
        ):
            for planned, take, wav in _made(work, batch_size):
                if planned.file in names:
                    placed = rename_take(pack, planned, take)
                    write_take(take_path(pack, placed), wav, take)
                    make_card(placed)
                    there += worker.count  # the others make as many meanwhile
                if worker.rank == 0:
                    update(min(there, len(asked)))
    worker.wait()
    named = [take for take in read_job(pack) if take.key in keys]
    return Done(takes=named, there_before=len(asked) - len(missing))


def _whole_path(run: str) -> str:
    """The path of a run from everywhere; what is not there stays as it was given."""
    return os.path.abspath(run) if Path(run).exists() else run  # noqa: PTH100 - a link stays one


def _with_models(
    batches: Sequence[list[Take]], models: Mapping[str, Pipeline], device: str
) -> list[tuple[Pipeline, list[Take]]]:
    """Each batch with its model on `device`; models that are not among `models` are loaded."""
    takes = [batch[0] for batch in batches]
    at_hand = set(_digests(models).values())
    others = {take.run for take in takes if take.model_digest not in at_hand} - models.keys()
    models = {**models, **{name: Pipeline.from_pretrained(name, device=device) for name in others}}
    check_models(takes, _digests(models))
    for pipeline in models.values():
        if str(pipeline.codec.device) != device:
            pipeline.to(device)
    return [(_model_of(batch[0], models), batch) for batch in batches]


def _made(
    work: Iterable[tuple[Pipeline, list[Take]]], batch_size: int
) -> Iterator[tuple[Take, Take, Tensor]]:
    """Each take of the batches as it was planned, as it was made, and its sound (C, T)."""
    choosers: dict[str, Chooser] = {}
    for pipeline, batch in work:
        if batch[0].best_of == 1:
            made = make_takes(pipeline, batch)
        else:
            if pipeline.digest not in choosers:
                choosers[pipeline.digest] = Chooser(pipeline)
            made = choosers[pipeline.digest].choose(batch, batch_size)
        for planned, (take, wav) in zip(batch, made, strict=True):
            yield planned, take, wav


def _model_of(take: Take, models: Mapping[str, Pipeline]) -> Pipeline:
    """The model of a take, also where it goes by another name now."""
    named = models.get(take.run)
    if named is not None and named.digest == take.model_digest:
        return named
    return next(one for one in models.values() if one.digest == take.model_digest)


def _digests(models: Mapping[str, Pipeline]) -> dict[str, str]:
    return {name: pipeline.digest for name, pipeline in models.items()}


def _report_unlisted(pack: Path, wanted: Iterable[Take]) -> None:
    """Say which prompts have takes and are not in the list any more, or not with these settings."""
    keys = {take.key for take in wanted}
    left = [take for take in read_job(pack) if take.key not in keys]
    prompts = Counter(take.prompt for take in left)
    for prompt, count in prompts.most_common(SHOWN_PROMPTS):
        text = "%.60r: %d take%s no longer in the list, or with other settings; nothing is deleted"
        _log.warning(text, prompt, count, "" if count == 1 else "s")
    if len(prompts) > SHOWN_PROMPTS:
        _log.warning("... and takes of %d more prompts", len(prompts) - SHOWN_PROMPTS)
