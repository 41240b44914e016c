"""How a generator's loss on recordings that it never learns from goes on while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

from audiogen.clip_batch import clip_batch
from audiogen.data.loading.clips import thinned
from audiogen.data.manifest import read_split
from audiogen.experiment import ExperimentConfig
from audiogen.nn.chance import draws_of
from audiogen.pipeline import Pipeline
from audiogen.types import Batch

Side = Literal["held_out", "train"]
SPLITS: Mapping[str, Side] = {"held_out_loss": "held_out", "known_loss": "train"}
"""Losses by the names of metrics.jsonl, and the side whose clips they are of."""


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
        for part in batch.pieces(self._config.evaluate.batch_size):
            size = len(part.latents)
            with draws_of(self._config.seed, 0, range(place, place + size)):
                total += size * float(self._pipeline.generator(part).loss)
            place += size
        return total / place
