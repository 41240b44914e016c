"""What a generator is trained on: the training files, encoded once, and measured where asked."""

from __future__ import annotations

from collections.abc import Sequence

from accelerate import Accelerator

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
from audiogen.data.manifest import read_split
from audiogen.experiment import ExperimentConfig
from audiogen.storage import digest_of, sha256_file
from audiogen.training.distributed.waiting import wait_for_all
from audiogen.training.loop.stage import Examples


def encoded_files(
    config: ExperimentConfig, codec: Codec, accelerator: Accelerator
) -> list[LatentItem]:
    """Latents of the training files; when they are not there, each process encodes its share.

    They are keyed by what made them, so that another codec, another crop or other measures never
    meet a stale cache.
    """
    rows = read_split(config.run.manifest, "train")
    window = codec.spec.num_frames(config.data.clip_seconds)
    versions, words = config.train.generator.versions, config.train.generator.words
    controls = sorted(config.generator.conditioner.controls) if config.generator else []
    made_from = {
        "codec": sha256_file(config.run.model("codec") / "weights.safetensors"),
        "text": config.text.model_dump(mode="json"),
        "window": window,
        "manifest": sha256_file(config.run.manifest),
        "controls": controls,
        "versions": versions,
        "words": words,
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
                versions=versions,
                traits=words,
            )
            write_latents(part, items)
        wait_for_all()
        if accelerator.is_main_process:
            join_latents(final, count)
        wait_for_all()
    return read_latents(final, rows)


def window_examples(
    config: ExperimentConfig, items: Sequence[LatentItem], codec: Codec
) -> Examples:
    """Windows of files that `codec` encoded."""
    spec = codec.spec
    dataset = LatentDataset(
        items,
        window_frames=spec.num_frames(config.data.clip_seconds),
        frame_rate=spec.frame_rate,
        seed=config.seed,
        open_std=codec.open_std,
    )
    return Examples(
        items=dataset,
        collate=Collate(TextTable.read(config.run.text)),
        seconds=config.data.clip_seconds,
        num_workers=config.data.num_workers,
    )
