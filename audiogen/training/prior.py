"""Takes of the model that training began from, learnt beside the new sounds, so that it keeps them.

Without them a model that learns a few sounds forgets its other words (prior preservation; Ruiz et
al. 2023, "DreamBooth", arXiv 2208.12242).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

import torch

from audiogen.conditioning.vocabulary import Vocabulary
from audiogen.data.loading.latents import LatentItem
from audiogen.data.manifest import ManifestRow
from audiogen.experiment import ExperimentConfig
from audiogen.pipeline import Pipeline
from audiogen.run_folder import WORDS
from audiogen.seeds import hashed_seed
from audiogen.take_request import TakeRequest

MOST_TAKES = 256
TAKES_PER_LABEL = 16


@dataclass(frozen=True, kw_only=True)
class PriorTake:
    """What is asked of the model: a label of its own, and which of its takes."""

    label: str
    number: int

    def row(self, seconds: float, config: ExperimentConfig) -> ManifestRow:
        """As which it is kept: a sound with the label, as long as a training window."""
        return ManifestRow(
            path=f"take {self.number} of the model before: {self.label}",
            seconds=seconds,
            sample_rate=config.codec.sample_rate,
            channels=config.codec.audio_channels,
            prompt=self.label,
            label=self.label,
            split="train",
            role="slice",
        )


def plan_prior(config: ExperimentConfig, own_labels: Set[str]) -> list[PriorTake]:
    """Choose takes of the labels of the model that training begins from; none without `prior`.

    Args:
        config: of the run.
        own_labels: of the new sounds, which are not to be what they were before.

    Raises:
        ValueError: that model tells no labels.
    """
    if config.start is None or not config.train.generator.prior:
        return []
    file = config.start.folder / WORDS
    known = Vocabulary.read(file).labels if file.is_file() else {}
    if not known:
        raise ValueError(
            f"train.generator.prior: {config.start.path} tells no labels of its sounds\n"
            "  train.generator.prior=0 goes without what it knows"
        )
    labels = [label for label in known if label not in own_labels]
    each = max(1, min(TAKES_PER_LABEL, MOST_TAKES // max(1, len(labels))))
    takes = [PriorTake(label=one, number=number) for number in range(each) for one in labels]
    return takes[:MOST_TAKES]


def sample_prior(
    config: ExperimentConfig, takes: Sequence[PriorTake], device: torch.device
) -> Iterator[LatentItem]:
    """Sample the latents of takes from the model that training begins from, on a device.

    A take depends on the run's seed, its label and its number alone.
    """
    if config.start is None or not takes:
        return
    pipeline = Pipeline.from_pretrained(config.start.folder, device=device)
    seconds, batch = config.data.clip_seconds, config.evaluate.batch_size
    frames = pipeline.codec.spec.num_frames(seconds)
    for first in range(0, len(takes), batch):
        part = takes[first : first + batch]
        seeds = [hashed_seed("prior", config.seed, one.label, one.number) for one in part]
        requests = [
            TakeRequest(prompt=one.label, seconds=seconds, seed=seed)
            for one, seed in zip(part, seeds, strict=True)
        ]
        latents = pipeline.generator.sample(
            pipeline.conditions(requests, role="slice"),
            frames,
            sampling=pipeline.config.sample,
            seeds=seeds,
        )
        for one, found in zip(part, latents.cpu(), strict=True):
            row = one.row(seconds, config)
            yield LatentItem(latents=found.contiguous(), num_frames=frames, row=row)
