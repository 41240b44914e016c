"""What is made before a run trains: the data set, its manifest, and the encoded captions."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import audiogen
from audiogen.conditioning.controls import ControlName
from audiogen.conditioning.text import TextEncoder
from audiogen.data.intake.scan import scan_folder, summarise
from audiogen.data.intake.walk import walk
from audiogen.data.loading.captions import WORDS, possible_texts, texts_of_label
from audiogen.data.loading.examples import TextTable
from audiogen.data.loading.mixtures import plan_mixtures
from audiogen.data.loading.variety import require_variety
from audiogen.data.manifest import ManifestRow, read_manifest, write_manifest
from audiogen.data.synthetic import write_textures
from audiogen.experiment import ExperimentConfig
from audiogen.locking import hold
from audiogen.schema import dump_config
from audiogen.stage_settings import require_same_run
from audiogen.storage import atomic_write_text, digest_of, read_json
from audiogen.training.checkpoint.folder import newest_state
from audiogen.training.prior import plan_prior


def prepare(config: ExperimentConfig) -> str:
    """Make the data set if need be, the manifest and the encoded captions; return a summary.

    Does nothing when sounds and settings are those of the last time.

    Raises:
        ValueError: a stage of the run was made with other settings or from other sounds, or no
            sound can be used; nothing is changed then.
        BusyError: another process is at work on the run.
    """
    with hold(config.run_dir):
        return prepare_held(config)


def prepare_held(config: ExperimentConfig) -> str:
    """Do what `prepare` does, in a run that the caller holds."""
    run, folder = config.run, config.sounds
    begun = {} if config.train.allow_change else _begun_settings(config)
    require_same_run(config, begun)
    if config.data.path is None:
        textures = config.data.textures
        write_textures(
            folder,
            num_clips=textures.num_clips,
            seconds=textures.seconds,
            sample_rate=config.codec.sample_rate,
            audio_channels=config.codec.audio_channels,
            seed=textures.seed,
        )
    key = _preparation_key(config, folder)
    if run.prepared.is_file() and run.manifest.is_file() and read_json(run.prepared) == key:
        rows = read_manifest(run.manifest)
        require_same_run(config, begun, rows)
    else:
        rows = scan_folder(
            folder,
            held_out=config.data.held_out,
            seed=config.seed,
            terms=config.terms,
            own=run.path,
            label=config.data.label,
        )
        require_same_run(config, begun, rows)
        _require_enough(config, rows)
        _encode_captions(config, rows)
        write_manifest(run.manifest, rows)
        atomic_write_text(run.environment, json.dumps(_environment(), indent=1))
        atomic_write_text(run.prepared, json.dumps(key))
    atomic_write_text(run.config, dump_config(config))
    return summarise(rows)


def _require_enough(config: ExperimentConfig, rows: Sequence[ManifestRow]) -> None:
    """Raise ValueError where it is plain that training will find too little."""
    clips = [row for row in rows if row.verdict == "used" and row.split == "train"]
    if not clips:
        raise ValueError(
            f"{config.sounds}: nothing to train on\n  its metadata hold out every recording; give"
            " some the split `train`, or leave the split of some empty"
        )
    spec = config.codec.spec(1)  # the channels of its latents play no part in what is measured
    require_variety(
        config.sounds,
        clips,
        spec,
        spec.num_frames(config.data.clip_seconds),
        _to_be_measured(config),
        versions=config.train.generator.versions,
    )


def _to_be_measured(config: ExperimentConfig) -> list[ControlName]:
    """The controls whose range the training sounds tell."""
    return [] if config.generator is None else config.generator.conditioner.without_range


def _begun_settings(config: ExperimentConfig) -> dict[str, Mapping[str, Any]]:
    """What the newest checkpoint of each stage was made with."""
    found = {stage: newest_state(config.run.checkpoints(stage)) for stage in config.stages}
    return {stage: state["settings"] for stage, state in found.items() if state}


def _encode_captions(config: ExperimentConfig, rows: Sequence[ManifestRow]) -> None:
    """Encode every text that training may say, once."""
    rows = [row for row in rows if row.verdict == "used" and row.split == "train"]
    plan = config.train.generator
    mixed = [one.row for one in plan_mixtures(rows, seed=config.seed)] if plan.mixtures else []
    before = {one.label for one in plan_prior(config, {row.label for row in rows})}
    said = possible_texts([*rows, *mixed], words=plan.words)
    for label in before:
        said.update(texts_of_label(label))
    prompts = sorted(said)
    TextTable.write(config.run.text, prompts, TextEncoder(config.text)(prompts, together=True))


def _preparation_key(config: ExperimentConfig, folder: Path) -> dict[str, str]:
    """What the manifest and captions depend on; the listing notices files added or changed."""
    listing = [
        (str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns)
        for here, _, names in walk(folder, own=config.run_dir)
        for path in (here / name for name in names)
        if path.is_file()
    ]
    settings: dict[str, Any] = {
        "held_out": config.data.held_out,
        "seed": config.seed,
        "label": config.data.label,
        "terms": config.terms.model_dump(mode="json"),
        "text": config.text.model_dump(mode="json"),
        "words": dict(WORDS) if config.train.generator.words else {},
        "mixtures": config.train.generator.mixtures > 0,
        "prior": config.start.digest if config.start and config.train.generator.prior else "",
    }
    if controls := _to_be_measured(config):  # that they vary depends on how they are measured
        settings["controls"] = [
            controls,
            config.data.clip_seconds,
            config.train.generator.versions,
            config.codec.sample_rate,
            config.codec.audio_channels,
            config.codec.hop_length,
        ]
    return {"files": digest_of(listing), "settings": digest_of(settings)}


def _environment() -> dict[str, Any]:
    """The software and the machine, for the record."""
    return {
        "audiogen": audiogen.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
