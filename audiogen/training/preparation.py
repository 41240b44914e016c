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
from audiogen.conditioning.text import TextEncoder
from audiogen.data.intake.scan import scan_folder, summarise
from audiogen.data.loading.examples import TextTable, prompts_of
from audiogen.data.manifest import ManifestRow, read_manifest, write_manifest
from audiogen.data.synthetic import write_textures
from audiogen.experiment import ExperimentConfig
from audiogen.schema import dump_config
from audiogen.storage import atomic_write_text, digest_of, read_json
from audiogen.training.settings import is_done


def prepare(config: ExperimentConfig) -> str:
    """Make the data set if need be, the manifest and the encoded captions; return a summary.

    Does nothing when sounds and settings are those of the last time.
    """
    run, folder = config.run, config.sounds
    run.path.mkdir(parents=True, exist_ok=True)
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
    if not (run.prepared.is_file() and run.manifest.is_file() and read_json(run.prepared) == key):
        rows = scan_folder(
            folder, held_out=config.data.held_out, seed=config.seed, terms=config.terms
        )
        write_manifest(run.manifest, rows)
        _encode_captions(config, rows)
        atomic_write_text(run.environment, json.dumps(_environment(), indent=1))
        atomic_write_text(run.prepared, json.dumps(key))
    for stage in config.stages:
        is_done(config, stage)  # raises when the run was made with other settings
    atomic_write_text(run.config, dump_config(config))
    return summarise(read_manifest(run.manifest))


def _encode_captions(config: ExperimentConfig, rows: Sequence[ManifestRow]) -> None:
    """Encode every prompt that training may use, once."""
    used = [row for row in rows if row.verdict == "used"]
    prompts = sorted({prompt for row in used for prompt in prompts_of(row)} | {""})
    TextTable.write(config.run.text, prompts, TextEncoder(config.text)(prompts))


def _preparation_key(config: ExperimentConfig, folder: Path) -> dict[str, str]:
    """What the manifest and captions depend on; the listing notices files added or changed."""
    listing = [
        (str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    settings: Mapping[str, Any] = {
        "held_out": config.data.held_out,
        "seed": config.seed,
        "terms": config.terms.model_dump(mode="json"),
        "text": config.text.model_dump(mode="json"),
    }
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
