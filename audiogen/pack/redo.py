"""The same take again from its own sidecar, and kept takes of a pack made anew."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from audiogen.audio.io.decoding import SAMPLE_RATES_HZ
from audiogen.audio.io.files import read_audio
from audiogen.generators import changed_sampling
from audiogen.library import library_folders
from audiogen.locking import new_file
from audiogen.pack.curation.choices import read_selection
from audiogen.pack.job import read_job, take_path
from audiogen.pack.make import Done, Worker, run_job
from audiogen.pipeline import Pipeline
from audiogen.run_folder import RunFolder, model_digest
from audiogen.seeds import later_seed
from audiogen.take_request import TakeRequest, Tempo, Variation
from audiogen.takes.making import make_batch
from audiogen.takes.take import Take, read_take, write_take
from audiogen.trees import did_you_mean

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Redone:
    """A take made again.

    Attributes:
        path: of the new file.
        difference: the largest of a sample; 0 is bit-equal, infinity another length.
        verdict: the same in words, and why they may differ, where that is known.
    """

    path: Path
    difference: float
    verdict: str


@dataclass(frozen=True, kw_only=True)
class RedoRequest:
    """What `audiogen texture redo` is asked for.

    Attributes:
        which: the kept takes, or the starred ones.
        seconds: a new length; None leaves it as it is.
        steps: of the solver; None leaves them.
        loop: whether to make them as loops.
        tempo: of loops whose length is counted in bars.
        vary: how many variations of each; 0 is none.
        amount: how far variations go, from 0 to 1.
        rate: Hz, of the same takes; the model's samples are resampled at the end.
        batch_size: takes made at once.
        model: run folder of the model that made them; None takes what the pack's job names.
    """

    which: Literal["keep", "star"] = "keep"
    seconds: float | None = None
    steps: int | None = None
    loop: bool = False
    tempo: Tempo | None = None
    vary: int = 0
    amount: float = 0.3
    rate: int | None = None
    batch_size: int = 8
    model: Path | None = None

    def __post_init__(self) -> None:
        if not 0 < self.amount <= 1:
            raise ValueError(f"expected an amount above 0 up to 1, got {self.amount:g}")
        if self.tempo is not None and (not self.loop or self.seconds is not None):
            raise ValueError("a tempo is for loops, and sets their length")
        changed = bool(self.seconds or self.steps or self.loop or self.vary)
        if not changed and self.rate is None:
            raise ValueError("say how they are made again: seconds, steps, loop, vary or rate")
        low, high = SAMPLE_RATES_HZ
        if self.rate is not None and not low <= self.rate <= high:
            raise ValueError(f"rate: expected {low} to {high} Hz, got {self.rate}")
        if self.rate is not None and changed:
            raise ValueError(
                "a rate is of takes as they were chosen, and is changed alone\n"
                "  make them again first, keep what is good, and then give --rate"
            )


def redo_take(file: Path, model: Path | None, out: Path | None, device: str = "auto") -> Redone:
    """Make the samples of a take again, by what its own sidecar tells.

    Args:
        file: the take; it is only read.
        model: run folder; None looks for it around the file.
        out: folder of the new file; None takes `redo` beside the file.
        device: that the model runs on; see `devices.usable_device`.

    Raises:
        ValueError: there is no sidecar, it is an edit's, or the model is another one.
    """
    take = _require_take(file)
    request = take.request
    run = model or _find_run(file, take)
    pipeline = Pipeline.from_pretrained(run, device=device)
    if pipeline.digest != take.model_digest:
        raise ValueError(
            f"{file}: made by {take.model} {take.model_digest}\n"
            f"  the model in {run} is {pipeline.config.name} {pipeline.digest}\n"
            "  give the run that made it with --model"
        )
    try:
        batch = [request] if take.batch is None else take.batch.requests(request)
    except ValueError as error:
        text = f"{file.with_suffix('.json')}: its batch is not as audiogen wrote it"
        raise ValueError(f"{text}\n  {error}") from None
    made, wav = make_batch(pipeline, batch)[0 if take.batch is None else take.batch.place]
    with new_file(out or file.parent / "redo", file.stem) as target:
        write_take(target, wav, made)
    one, other = read_audio(file)[0], read_audio(target)[0]
    difference = float((one - other).abs().max()) if one.shape == other.shape else math.inf
    return Redone(path=target, difference=difference, verdict=_verdict(difference, take, made))


def _verdict(difference: float, then: Take, now: Take) -> str:
    """How the samples compare with the first ones, and how the machines that made them differ."""
    if difference == 0:
        return "bit-equal"
    if math.isinf(difference):
        return "not as long as the file: it was cut or resampled since it was made"
    text = f"samples differ by up to {difference:.2g}"
    if not then.made_with or then.made_with == now.made_with:
        return text
    before, here = (
        ", ".join(f"{name} {value}" for name, value in one.made_with.items()) for one in (then, now)
    )
    return f"{text}: made with {before}; here {here}"


def redo_pack(pack: Path, request: RedoRequest, worker: Worker) -> Done:
    """Make the chosen takes of a pack again, otherwise, as new takes that name their parent.

    Raises:
        ValueError: none is chosen, or the model is not there any more.
        BusyError: another process is making takes in this pack.
    """
    parents = _chosen(pack, request)
    with worker.holding(pack):
        parents, models = _with_models(pack, parents, request.model, worker.device)
        wanted = [take for parent in parents for take in _again(pack, parent, request, models)]
        return run_job(pack, wanted, models, worker, request.batch_size)


def _chosen(pack: Path, request: RedoRequest) -> list[Take]:
    """The takes of a pack that are kept, or starred; ValueError where none is."""
    chosen = read_selection(pack).takes
    stems = {
        name
        for name, choice in chosen.items()
        if (choice.star if request.which == "star" else choice.status == "keep")
    }
    parents = [take for take in read_job(pack) if take.file in stems]
    if not parents:
        verb = "starred" if request.which == "star" else "kept"
        raise ValueError(
            f"{pack}: no take is {verb}{did_you_mean(pack)}\n"
            f"  choose on its page (`audiogen texture serve {pack}`)"
        )
    return parents


def _with_models(
    pack: Path, parents: list[Take], model: Path | None, device: str
) -> tuple[list[Take], dict[str, Pipeline]]:
    """The takes with the runs that make them again, and the models by run."""
    models: dict[str, Pipeline] = {}
    if model is not None:
        run, pipeline = str(model.absolute()), Pipeline.from_pretrained(model, device=device)
        models[run] = pipeline
        if all(take.model_digest != pipeline.digest for take in parents):
            raise ValueError(
                f"{model}: none of the chosen takes was made by this model ({pipeline.digest})\n"
                f"  they were made by {parents[0].model_digest}; give its run folder with --model"
            )
        parents = [
            take.model_copy(update={"run": run}) if take.model_digest == pipeline.digest else take
            for take in parents
        ]
    for take in parents:
        if take.run not in models:
            try:
                models[take.run] = Pipeline.from_pretrained(take.run, device=device)
            except FileNotFoundError:
                raise ValueError(
                    f"{pack}: {take.file} was made by the model in {take.run}, which is not there\n"
                    f"  give the run folder of model {take.model_digest} with --model"
                ) from None
    return parents, models


def _again(
    pack: Path, parent: Take, request: RedoRequest, models: Mapping[str, Pipeline]
) -> Iterator[Take]:
    """The takes that a request makes of one."""
    path = take_path(pack, parent)
    if not path.exists():
        _log.warning("%s: not made yet; left out", path.name)
        return
    before = _require_take(path).request
    again = before.model_copy(update=_changes(before, request, models[parent.run]))
    common = {"run": parent.run, "model_digest": parent.model_digest, "parent": parent.file}
    if not request.vary:
        if again != before:
            yield Take(**{**dict(_as_chosen(again, models[parent.run])), **common})
        else:
            _log.info("%s: is so already", path.name)
        return
    if before.variation is not None or again.to_end:
        _log.warning("%s: made from another take; it cannot be varied by its seed", path.name)
        return
    variation = Variation(from_seed=again.seed, amount=request.amount)
    for number in range(1, request.vary + 1):
        varied = {"seed": later_seed(again.seed, number), "variation": variation}
        yield Take(**{**dict(again), **common, **varied})


def _as_chosen(request: TakeRequest, pipeline: Pipeline) -> TakeRequest:
    """A take that somebody has chosen: what the recogniser thinks of it does not count."""
    sampling = request.sampling or pipeline.config.sample
    return request.model_copy(update={"sampling": sampling.model_copy(update={"recognised": 0.0})})


def _changes(before: TakeRequest, request: RedoRequest, pipeline: Pipeline) -> dict[str, Any]:
    """What of a take is asked for otherwise."""
    latents, changes = pipeline.codec.spec, dict[str, Any]()
    if request.steps is not None:
        sampling = before.sampling or pipeline.config.sample
        changes["sampling"] = changed_sampling(sampling, {"steps": request.steps})
    if request.rate is not None:
        changes["rate"] = None if request.rate == latents.sample_rate else request.rate
    if request.loop:
        tempo = request.tempo
        seconds = before.seconds if request.seconds is None else request.seconds
        changes |= {"loop": True, "tempo": tempo or before.tempo}
        changes |= {"seconds": seconds if tempo is None else tempo.seconds, "to_end": False}
    elif request.seconds is not None:
        changes |= {"seconds": request.seconds, "tempo": None}
    return changes


def _require_take(file: Path) -> Take:
    """The take that a file is; ValueError where nothing tells of it, or it is an edit."""
    if not file.is_file():
        raise ValueError(f"{file}: there is no such file{did_you_mean(file)}")
    take = read_take(file)
    if take is None:
        raise ValueError(
            f"{file}: no JSON file beside it, of the same name, tells what it was made of\n"
            "  the file that audiogen wrote with it is needed to make it again"
        )
    if take.edit is not None:
        operation = take.edit.operation
        raise ValueError(
            f"{file}: an edit of other files ({operation}), not a take\n"
            f"  its JSON file tells of which; make it again with `audiogen edit {operation}`"
        )
    return take


def _find_run(file: Path, made: Take) -> Path:
    """The run folder of the model that made a file: around it, or as its pack's job tells."""
    folder = file.resolve().parent
    for around in (folder.parent, folder):
        if RunFolder(around).model("generator").is_dir():
            return around
    for take in read_job(folder.parent):
        if take.model_digest == made.model_digest and Path(take.run).is_dir():
            return Path(take.run)
    for folder in library_folders():
        if model_digest(folder) == made.model_digest:
            return folder
    raise ValueError(
        f"{file}: made by {made.model} {made.model_digest}\n"
        "  give the run folder of that model with --model"
    )
