"""What a generator is trained on: training files and mixtures, encoded once, and measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from accelerate import Accelerator

from audiogen.audio.measure.traits import TRAITS
from audiogen.codecs import Codec
from audiogen.data.loading.examples import Collate, LatentDataset, TextTable
from audiogen.data.loading.latents import (
    LatentItem,
    encode_rows,
    join_latents,
    part_of,
    read_latents,
    write_latents,
)
from audiogen.data.loading.mixtures import encode_mixtures, plan_mixtures
from audiogen.data.manifest import read_split
from audiogen.experiment import ExperimentConfig
from audiogen.storage import digest_of, sha256_file
from audiogen.training.distributed.waiting import wait_for_all
from audiogen.training.loop.display import ProgressDisplay
from audiogen.training.loop.stage import Examples
from audiogen.training.prior import plan_prior, sample_prior


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Latents of the training files, in their versions, and of what is learnt beside them.

    Attributes:
        files: of the training files.
        mixtures: of two of them.
        prior: of takes of the model that training began from.
    """

    files: list[LatentItem]
    mixtures: list[LatentItem]
    prior: list[LatentItem]


def encoded_files(config: ExperimentConfig, codec: Codec, accelerator: Accelerator) -> Encoded:
    """What a generator learns; when it is not there, each process encodes its share.

    They are keyed by what made them, so that another codec, another crop or other measures never
    meet a stale cache.
    """
    rows = read_split(config.run.manifest, "train")
    window = codec.spec.num_frames(config.data.clip_seconds)
    plan = config.train.generator
    mixtures = plan_mixtures(rows, seed=config.seed) if plan.mixtures else []
    before = plan_prior(config, {row.label for row in rows})
    controls = sorted(config.generator.conditioner.controls) if config.generator else []
    made_from = {
        "codec": sha256_file(config.run.model("codec") / "weights.safetensors"),
        "text": config.text.model_dump(mode="json"),
        "window": window,
        "manifest": sha256_file(config.run.manifest),
        "controls": controls,
        "versions": plan.versions,
        "traits": TRAITS if plan.words else (),
        "mixtures": [config.seed] if mixtures else [],
        "prior": [config.start.digest, config.seed] if config.start and before else [],
    }
    final = config.run.latents(digest_of(made_from))
    if not final.is_dir():
        rank, count = accelerator.process_index, accelerator.num_processes
        part = part_of(final, rank, count)
        if not part.is_dir():  # else a run that was stopped here has written it
            items = encode_rows(
                config.sounds,
                rows[rank::count],
                codec,
                min_frames=window,
                controls=controls,
                versions=plan.versions,
                traits=plan.words,
            )
            own, prior = mixtures[rank::count], before[rank::count]
            mixed = encode_mixtures(config.sounds, own, codec, num_frames=window)
            every = chain(items, mixed, sample_prior(config, prior, accelerator.device))
            total = plan.versions * len(rows[rank::count]) + len(own) + len(prior)
            write_latents(part, every if rank else _shown(every, total))
        wait_for_all()
        if accelerator.is_main_process:
            join_latents(final, count)
        wait_for_all()
    prior_rows = [one.row(config.data.clip_seconds, config) for one in before]
    items = read_latents(final, [*rows, *(one.row for one in mixtures), *prior_rows])
    end = len(items) - len(before)
    count = end - len(mixtures)
    return Encoded(files=items[:count], mixtures=items[count:end], prior=items[end:])


def _shown(items: Iterable[LatentItem], total: int) -> Iterator[LatentItem]:
    """Pass items on, and show how many of them there have been."""
    display = ProgressDisplay("encoding", 0, total, unit="sound")
    try:
        for number, item in enumerate(items, start=1):
            display.show(number, {})
            yield item
    finally:
        display.stop()


def window_examples(config: ExperimentConfig, encoded: Encoded, codec: Codec) -> Examples:
    """Windows of files that `codec` encoded, and what is learnt beside them."""
    spec, plan = codec.spec, config.train.generator
    dataset = LatentDataset(
        encoded.files,
        window_frames=spec.num_frames(config.data.clip_seconds),
        frame_rate=spec.frame_rate,
        seed=config.seed,
        open_std=codec.open_std,
        others=[(encoded.mixtures, plan.mixtures), (encoded.prior, plan.prior)],
        own_captions=plan.captions,
        by_length=plan.by_length,
    )
    return Examples(
        items=dataset,
        collate=Collate(TextTable.read(config.run.text)),
        seconds=config.data.clip_seconds,
        num_workers=config.data.num_workers,
    )
