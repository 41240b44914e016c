"""What is watched while a generator trains: losses on either side of the split, and copies."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from audiogen.clip_batch import clip_batch
from audiogen.data.loading.clips import thinned
from audiogen.data.manifest import read_split
from audiogen.evaluation.material import MAX_TRAINING, Sounds, real_sounds
from audiogen.evaluation.metrics.near_copies import CopyCheck
from audiogen.experiment import ExperimentConfig
from audiogen.nn.chance import draws_of
from audiogen.pipeline import Pipeline
from audiogen.run_folder import WEIGHTS
from audiogen.storage import publish_folder, read_json, read_tensors, write_tensors
from audiogen.types import Batch

STATE = "state.json"
MOST_COPIES = 0.1
"""Share of near-copies among the takes of weights that are kept; a take may look like one by
chance."""
_log = logging.getLogger(__name__)

Side = Literal["held_out", "train"]
SPLITS: Mapping[str, Side] = {"held_out_loss": "held_out", "known_loss": "train"}
"""Losses by the names of metrics.jsonl, and the side whose clips they are of."""


class BestWeights:
    """Weights at the step whose held-out loss was lowest so far; a folder of the run has them.

    Weights whose takes are copies are never kept, see `MOST_COPIES`. A run that is killed and goes
    on finds them there.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder, which need not be there yet."""
        self._folder = folder

    def offer(self, step: int, losses: Mapping[str, float], module: nn.Module) -> None:
        """Keep the weights that `module` has now, if their loss is lower than that of the kept."""
        kept, loss = self._kept(), losses.get("held_out_loss", math.inf)
        if (copies := losses.get("copies", 0.0)) > MOST_COPIES:
            _log.info("generator: step %d is not kept: %.0f %% copies", step, 100 * copies)
            return
        if loss < (math.inf if kept is None else kept["held_out_loss"]):
            with publish_folder(self._folder) as folder:
                write_tensors(folder / WEIGHTS, module.state_dict())
                told = {"step": step, "held_out_loss": loss}
                (folder / STATE).write_text(json.dumps(told), encoding="utf-8")

    def give_to(self, module: nn.Module) -> None:
        """Give `module` the weights that were kept; where there are none, it stays as it is."""
        kept = self._kept()
        if kept is None:
            _log.warning("generator: nothing is held out, so the weights of the last step are kept")
            return
        module.load_state_dict(read_tensors(self._folder / WEIGHTS))
        step, loss = kept["step"], kept["held_out_loss"]
        _log.info("generator: kept as at step %d, held-out loss %.4g", step, loss)

    def _kept(self) -> dict[str, Any] | None:
        """Step and loss of the weights that were kept."""
        file = self._folder / STATE
        found: dict[str, Any] | None = read_json(file) if file.is_file() else None
        return found


class WatchedLosses:
    """The loss on held-out clips, and on as many that are learnt, with the same noise each time.

    Where training goes on to lower the second and no longer the first, it learns by heart.
    """

    def __init__(self, config: ExperimentConfig, pipeline: Pipeline) -> None:
        """Take the run's settings, and the pipeline of what is trained; nothing is read yet."""
        self._config, self._pipeline = config, pipeline
        self._batches: dict[str, Batch] | None = None

    def __call__(self) -> dict[str, float]:
        """Compute the losses that there are clips for; none where nobody asked for them."""
        if self._batches is None:
            self._batches = self._encoded()
        return {name: self._mean(batch) for name, batch in self._batches.items()}

    def _encoded(self) -> dict[str, Batch]:
        """The first window of each clip."""
        config, found = self._config, dict[str, Batch]()
        most = config.train.held_out_clips
        for name, split in SPLITS.items() if most else ():
            rows = thinned(read_split(config.run.manifest, split), most)
            if rows:
                found[name] = clip_batch(self._pipeline, config.sounds, rows)
        return found

    @torch.no_grad()
    def _mean(self, batch: Batch) -> float:
        """Mean loss over clips."""
        total, place = 0.0, 0
        plan = self._config.train.generator
        for part in batch.pieces(plan.batch_size // plan.accumulate):
            size = len(part.latents)
            with draws_of(self._config.seed, 0, range(place, place + size)):
                total += size * float(self._pipeline.generator(part).loss)
            place += size
        return total / place


class WatchedCopies:
    """The share of takes that are near-copies of a training clip, see `CopyCheck`.

    They are of the labels in turn, with the same seeds each time.
    """

    def __init__(self, config: ExperimentConfig, pipeline: Pipeline) -> None:
        """Take the run's settings, and the pipeline of what is trained; nothing is read yet."""
        self._config, self._pipeline = config, pipeline
        self._check: CopyCheck | None = None
        self._labels: list[str] = []

    def __call__(self) -> dict[str, float]:
        """Make the takes and compare them; nothing where nobody asked for it."""
        count = self._config.train.copy_check_takes
        if not count:
            return {}
        config, spec = self._config, self._pipeline.codec.spec
        if self._check is None:
            rows = read_split(config.run.manifest, "train")
            clips = real_sounds(config, spec, rows, MAX_TRAINING)
            sources = {row.path: row.source_id for row in rows}
            self._check = CopyCheck(clips, spec.sample_rate, sources=sources)
            self._labels = sorted(set(clips.labels))
        labels = [self._labels[number % len(self._labels)] for number in range(count)]
        wavs = self._pipeline(
            labels, seconds=config.evaluate.seconds, seeds=range(count), sampling=config.sample
        )
        names = [f"{label} {number}" for number, label in enumerate(labels)]
        made = Sounds(wavs=list(wavs.cpu()), labels=labels, names=names)
        return {"copies": self._check.share(made)}
