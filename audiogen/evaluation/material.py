"""The sounds that an evaluation compares: real clips, codec reconstructions and takes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from audiogen.audio.io.files import read_audio, write_audio
from audiogen.audio.measure.texture_features import Array, texture_features
from audiogen.codecs import Codec
from audiogen.data.loading.clips import read_clips, thinned
from audiogen.data.manifest import ManifestRow
from audiogen.devices import finish
from audiogen.experiment import ExperimentConfig
from audiogen.judge.hearing import texture_part
from audiogen.judge.judge import features_of
from audiogen.pipeline import Pipeline
from audiogen.seeds import later_seed
from audiogen.take_request import TakeRequest
from audiogen.takes.making import make_takes
from audiogen.takes.take import Take, read_take, take_slug, write_take
from audiogen.types import LatentSpec

MAX_TRAINING, MAX_HELD_OUT = 1000, 300
"""Clips that are compared, at most; larger sets are thinned out evenly."""
PLANTED_COPIES = 30
"""Training clips of which copies of each kind are planted."""
NUM_PAIRS = 10
"""Reconstruction pairs kept for the report."""


@dataclass(frozen=True, kw_only=True)
class Sounds:
    """Clips of one kind: wavs (C, T), and for each its label and a name."""

    wavs: Sequence[Tensor]
    labels: Sequence[str]
    names: Sequence[str]

    _features: dict[int, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def features(self, sample_rate: int) -> Array:
        """What a judge hears of them (n, dim), at least one; it is measured once."""
        if sample_rate not in self._features:
            self._features[sample_rate] = features_of(self.wavs, sample_rate)
        return self._features[sample_rate]

    def textures(self, sample_rate: int) -> Array:
        """Texture statistics (n, dim) of at least one of them."""
        if sample_rate in self._features:
            return texture_part(self._features[sample_rate])
        return texture_features(self.wavs, sample_rate)

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
        finish(codec.device)
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
        prompts: (label, prompt) of each take. No two have a seed in common: takes of one seed are
            alike in level and course whatever the prompt, and a set of them says less.

    Returns:
        The takes, and the median seconds that one took in a full batch; None when no full batch
        had to be made.
    """
    folder, batch = config.run.evaluated_takes, config.evaluate.batch_size
    folder.mkdir(parents=True, exist_ok=True)
    wanted = _wanted(config, pipeline, prompts)
    paths = [folder / f"{take_slug(one.label or one.prompt)}-seed{one.seed}.wav" for one in wanted]
    missing = [
        (path, take)
        for path, take in zip(paths, wanted, strict=True)
        if not (path.is_file() and _is_same(read_take(path), take))
    ]
    costs = []
    for start in range(0, len(missing), batch):
        part = missing[start : start + batch]
        before = time.perf_counter()
        made = make_takes(pipeline, [take.request for _, take in part])
        if len(part) == batch:
            costs.append((time.perf_counter() - before) / batch)
        for (path, asked), (take, wav) in zip(part, made, strict=True):
            write_take(path, wav, take.model_copy(update={"label": asked.label}))
    sounds = Sounds(
        wavs=[read_audio(path)[0] for path in paths],
        labels=[label for label, _ in prompts],
        names=[path.name for path in paths],
    )
    return sounds, sorted(costs)[len(costs) // 2] if costs else None


def _is_same(found: Take | None, wanted: Take) -> bool:
    """Whether a file was made exactly so, be it with a seed that stands in for the one wanted."""
    if found is None:
        return False
    asked = found.seed if found.asked_seed is None else found.asked_seed
    as_asked = found.model_copy(update={"seed": asked})
    return (as_asked.key, found.label) == (wanted.key, wanted.label)


def _wanted(
    config: ExperimentConfig, pipeline: Pipeline, prompts: Sequence[tuple[str, str]]
) -> list[Take]:
    labels = list(dict.fromkeys(label for label, _ in prompts))
    numbers = dict.fromkeys(labels, 0)
    takes = []
    for label, prompt in prompts:
        number = numbers[label] * len(labels) + labels.index(label)
        numbers[label] += 1
        request = TakeRequest(
            prompt=prompt,
            seconds=config.evaluate.seconds,
            seed=later_seed(config.evaluate.seed, number),
            sampling=config.sample,
        )
        takes.append(Take.made_by(pipeline, request, label=label))
    return takes
