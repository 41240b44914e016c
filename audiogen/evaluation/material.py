"""The sounds that an evaluation compares: real clips, codec reconstructions and takes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from audiogen.audio.io.files import read_audio, write_audio
from audiogen.codecs import Codec
from audiogen.data.loading.clips import read_clips, thinned
from audiogen.data.manifest import ManifestRow
from audiogen.experiment import ExperimentConfig
from audiogen.pipeline import Pipeline
from audiogen.storage import read_json
from audiogen.takes.sidecar import take_sidecar, take_slug
from audiogen.types import LatentSpec

MAX_TRAINING, MAX_HELD_OUT = 1000, 300
"""Clips that are compared, at most; larger sets are thinned out evenly."""
NUM_PAIRS = 10
"""Reconstruction pairs kept for the report."""


@dataclass(frozen=True, kw_only=True)
class Sounds:
    """Clips of one kind: wavs (C, T), and for each its label and a name."""

    wavs: Sequence[Tensor]
    labels: Sequence[str]
    names: Sequence[str]

    def of(self, label: str) -> list[int]:
        """Indexes of the clips of one label."""
        return [index for index, found in enumerate(self.labels) if found == label]


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Measured on this machine: codec as times real time, sampling as seconds."""

    encode_times_realtime: float
    decode_times_realtime: float


def real_sounds(
    config: ExperimentConfig, spec: LatentSpec, rows: Sequence[ManifestRow], limit: int
) -> Sounds:
    """Read clips as training does, cut or filled to the length of the takes."""
    few = thinned(rows, limit)
    wavs = read_clips(config.sounds, few, spec, config.evaluate.seconds)
    return Sounds(wavs=wavs, labels=[row.label for row in few], names=[row.path for row in few])


def reconstructions(config: ExperimentConfig, codec: Codec, real: Sounds) -> tuple[Sounds, Speed]:
    """Encode and decode real clips; measure the speed."""
    batch = config.evaluate.batch_size
    wavs: list[Tensor] = []
    encoding = decoding = seconds = 0.0
    for start in range(0, len(real.wavs), batch):
        wav = torch.stack(list(real.wavs[start : start + batch])).to(codec.device)
        before = time.perf_counter()
        latents = codec.encode(wav)
        between = time.perf_counter()
        decoded = codec.decode(latents, seeds=range(len(wav)))[..., : wav.shape[-1]].cpu()
        after = time.perf_counter()
        wavs += list(decoded)
        if start or len(real.wavs) <= batch:  # the first batch also warms up
            encoding, decoding = encoding + between - before, decoding + after - between
            seconds += len(wav) * config.evaluate.seconds
    speed = Speed(
        encode_times_realtime=seconds / encoding, decode_times_realtime=seconds / decoding
    )
    return Sounds(wavs=wavs, labels=real.labels, names=real.names), speed


def write_pairs(folder: Path, real: Sounds, decoded: Sounds, sample_rate: int) -> None:
    """Write a few real clips and their reconstructions, one per label as far as there are any."""
    folder.mkdir(parents=True, exist_ok=True)
    first = [real.of(label)[0] for label in sorted(set(real.labels))]
    chosen = list(dict.fromkeys([*first, *range(len(real.wavs))]))[:NUM_PAIRS]
    for number, index in enumerate(chosen):
        facts = {"path": real.names[index], "label": real.labels[index]}
        for kind, wav in (("real", real.wavs[index]), ("codec", decoded.wavs[index])):
            path = folder / f"{number:02d}.{kind}.wav"
            write_audio(path, wav / max(1.0, float(wav.abs().max())), sample_rate)
        (folder / f"{number:02d}.json").write_text(json.dumps(facts), encoding="utf-8")


def takes(
    config: ExperimentConfig, pipeline: Pipeline, prompts: Sequence[tuple[str, str]]
) -> tuple[Sounds, float | None]:
    """Make, or find, the takes of an evaluation.

    Args:
        config: of the experiment.
        pipeline: that makes them.
        prompts: (label, prompt) of each take; its seed is its number among those of its label.

    Returns:
        The takes, and the median seconds that one took in a full batch; None when no full batch
        had to be made.
    """
    folder, batch = config.run.evaluated_takes, config.evaluate.batch_size
    folder.mkdir(parents=True, exist_ok=True)
    jobs = _jobs(config, pipeline, prompts, folder)
    missing = [job for job in jobs if not job.is_done()]
    costs = []
    for start in range(0, len(missing), batch):
        part = missing[start : start + batch]
        before = time.perf_counter()
        wavs = pipeline(
            [job.prompt for job in part],
            seconds=config.evaluate.seconds,
            seeds=[job.seed for job in part],
            sampling=config.sample,
        )
        if len(part) == batch:
            costs.append((time.perf_counter() - before) / batch)
        for job, wav in zip(part, wavs, strict=True):
            write_audio(job.path, wav, pipeline.codec.spec.sample_rate, sidecar=job.sidecar)
    made = Sounds(
        wavs=[read_audio(job.path)[0] for job in jobs],
        labels=[label for label, _ in prompts],
        names=[job.path.name for job in jobs],
    )
    return made, sorted(costs)[len(costs) // 2] if costs else None


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One take of an evaluation: what to make, and where."""

    prompt: str
    seed: int
    path: Path
    sidecar: dict[str, object]

    def is_done(self) -> bool:
        """Whether the file is there and was made exactly so."""
        beside = self.path.with_suffix(".json")
        if not self.path.is_file() or not beside.is_file():
            return False
        found = read_json(beside)
        return all(found.get(key) == value for key, value in self.sidecar.items())


def _jobs(
    config: ExperimentConfig, pipeline: Pipeline, prompts: Sequence[tuple[str, str]], folder: Path
) -> list[_Job]:
    numbers: dict[str, int] = {}
    jobs = []
    for label, prompt in prompts:
        seed = config.evaluate.seed + numbers.get(label, 0)
        numbers[label] = numbers.get(label, 0) + 1
        sidecar = take_sidecar(pipeline, prompt, seed, config.evaluate.seconds, config.sample)
        path = folder / f"{take_slug(label or prompt)}-seed{seed}.wav"
        jobs.append(_Job(prompt=prompt, seed=seed, path=path, sidecar={**sidecar, "label": label}))
    return jobs
