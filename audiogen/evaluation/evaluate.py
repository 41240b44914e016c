"""`audiogen evaluate`: takes, metrics with their references, and the report."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiogen.audio.measure.texture import Array, texture_features
from audiogen.codecs import Codec, load_codec
from audiogen.data.manifest import read_split
from audiogen.evaluation.machine import processor_name
from audiogen.evaluation.material import (
    MAX_HELD_OUT,
    MAX_TRAINING,
    Sounds,
    real_sounds,
    reconstructions,
    takes,
    write_pairs,
)
from audiogen.evaluation.metrics.copies import nearest_clips
from audiogen.evaluation.metrics.density import density
from audiogen.evaluation.metrics.distances import (
    diversity,
    frechet_distance,
    matched,
    mmd,
    noise_like,
)
from audiogen.evaluation.metrics.reconstruction import codec_metrics, codec_summary
from audiogen.evaluation.metrics.space import FeatureSpace
from audiogen.evaluation.report.run_page import write_report
from audiogen.experiment import ExperimentConfig
from audiogen.judge.judge import Judge
from audiogen.pipeline import Pipeline
from audiogen.run_folder import find_model, model_digest
from audiogen.storage import atomic_write_text, read_json, sha256_file

Metrics = dict[str, Any]
"""The finished codec in a run folder."""

_log = logging.getLogger(__name__)


def evaluate(config: ExperimentConfig) -> Path:
    """Evaluate a finished run on its held-out recordings; return the report's path.

    A recipe without a generator has its codec evaluated. Does nothing when the report is of these
    weights and these settings already.
    """
    run = config.run_dir
    report, metrics_file = config.run.report, config.run.scores
    key = {
        "model_digest": _digest(config),
        "sample": config.sample.model_dump(mode="json"),
        "evaluate": config.evaluate.model_dump(mode="json"),
    }
    metrics = read_json(metrics_file) if metrics_file.is_file() else {}
    if metrics.get("key") != key or not report.is_file():
        if config.generator is None:
            found = compare(config, load_codec(config.run.model("codec")), None)
        else:
            pipeline = Pipeline.from_pretrained(run)
            found = compare(config, pipeline.codec, pipeline)
        metrics = {"key": key, **found}
        atomic_write_text(metrics_file, json.dumps(metrics, indent=1))
        write_report(run)
    for line in [*codec_summary(metrics["codec"]), *density_summary(metrics)]:
        _log.info("%s", line)
    return report


def _digest(config: ExperimentConfig) -> str:
    """Name the weights that are evaluated; FileNotFoundError when training has not made them."""
    if config.generator is not None:
        return model_digest(find_model(config.run_dir))
    weights = config.run.model("codec") / "weights.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(
            f"{config.run_dir}: no finished codec here\n"
            f"  expected {weights}; `audiogen train` makes it"
        )
    return sha256_file(weights)[:16]


def compare(config: ExperimentConfig, codec: Codec, pipeline: Pipeline | None) -> Metrics:
    """Return every metric that applies (see docs/metrics.md for what each one says).

    Leaves reconstructions and takes in the run's folder.

    Args:
        config: of the experiment.
        codec: whose reconstructions are compared.
        pipeline: that makes the takes; None leaves out takes and what is said of them.
    """
    spec = codec.spec
    if not read_split(config.run.manifest, "held_out"):
        raise ValueError(
            f"{config.run_dir / 'manifest.jsonl'}: no held-out recordings to compare with\n"
            "  the clips seem to come from one recording; give them a source_id in metadata.csv"
        )
    training = real_sounds(config, spec, read_split(config.run.manifest, "train"), MAX_TRAINING)
    real = real_sounds(config, spec, read_split(config.run.manifest, "held_out"), MAX_HELD_OUT)
    decoded, speed = reconstructions(config, codec, real)
    pairs = config.run.reconstructions
    write_pairs(pairs, real, decoded, spec.sample_rate)
    metrics: Metrics = {"codec": codec_metrics(config, codec, real, decoded, speed)}
    made = None
    if pipeline is not None:
        made, seconds_per_take = takes(config, pipeline, _prompts(config, training))
        metrics |= _texture_metrics(config, training, real, made, spec.sample_rate)
        metrics |= density(config, pipeline)
        metrics["parameters"] = sum(part.numel() for part in pipeline.generator.parameters())
        metrics["copies"] = _copies(config, training, made, spec.sample_rate)
        metrics["sampling"] = {
            "seconds_per_take": seconds_per_take,
            "network_evaluations": pipeline.generator.network_evaluations(
                config.sample, spec.num_frames(config.evaluate.seconds)
            ),
            "batch_size": config.evaluate.batch_size,
        }
    judge = _judge(pipeline, training, spec.sample_rate)
    if judge is not None and set(judge.labels) & set(real.labels):
        metrics |= _recognition(judge, real, decoded, made)
    return {**metrics, "machine": _machine()}


def density_summary(metrics: Mapping[str, Any]) -> list[str]:
    """Say in a line how well recordings are predicted; nothing where that is not known."""
    units = {"bits_per_dimension": "latent dimension", "token_likelihood": "second of sound"}
    lines = []
    for key, unit in units.items():
        if key in metrics:
            found = metrics[key]
            parts = [
                f"{found[split]:.4g} on {found[f'{split}_clips']} {name} clips"
                for split, name in (("held_out", "held-out"), ("train", "training"))
            ]
            lines.append(f"bits per {unit}: {', '.join(parts)}")
    return lines


def _prompts(config: ExperimentConfig, training: Sounds) -> list[tuple[str, str]]:
    """(label, prompt) of every take: the labels, or captions where there are no labels."""
    count = config.evaluate.takes_per_label
    labels = sorted({label for label in training.labels if label})
    if labels:
        return [(label, label) for label in labels for _ in range(count)]
    captions = sorted({row.prompt for row in read_split(config.run.manifest, "held_out")}) or [""]
    return [("", captions[number % len(captions)]) for number in range(4 * count)]


def _copies(config: ExperimentConfig, training: Sounds, made: Sounds, rate: int) -> Metrics:
    """The training clip nearest to each take, and how many takes are near-copies."""
    sources = {row.path: row.source_id for row in read_split(config.run.manifest, "train")}
    check = nearest_clips(
        made.wavs,
        training.wavs,
        rate,
        sources=[sources[name] for name in training.names],
        versions=config.train.generator.versions,
    )
    return {
        "threshold": check.threshold,
        "count": len(check.copies),
        "nearest": [
            {
                "take": made.names[found.take],
                "clip": training.names[found.clip],
                "distance": found.distance,
            }
            for found in check.nearest
        ],
    }


def _texture_metrics(
    config: ExperimentConfig, training: Sounds, real: Sounds, made: Sounds, rate: int
) -> Metrics:
    """Fréchet distance, MMD and diversity on texture statistics, per label and over all."""
    features = texture_features(training.wavs, rate)
    space = FeatureSpace.fit(features)
    noise = noise_like(real.wavs, config.evaluate.seed)
    points = {
        "training": space.project(features),
        "held_out": space.project(texture_features(real.wavs, rate)),
        "takes": space.project(texture_features(made.wavs, rate)),
        "noise": space.project(texture_features(noise, rate)),
    }
    count = config.evaluate.takes_per_label

    def kernel_distance(a: Array, b: Array) -> float:
        return mmd(a, b, bandwidth=space.bandwidth)

    found: Metrics = {"frechet": {"per_label": {}}, "mmd": {"per_label": {}}}
    found["diversity"] = {"per_label": {}}
    for name, distance in (("frechet", frechet_distance), ("mmd", kernel_distance)):
        found[name]["all"] = _with_references(distance, points, len(made.wavs))
    for label in sorted(set(made.labels)):
        chosen = {
            "training": points["training"][training.of(label)],
            "held_out": points["held_out"][real.of(label)],
            "takes": points["takes"][made.of(label)],
            "noise": points["noise"][real.of(label)],
        }
        if min(len(part) for part in chosen.values()) < 2:
            continue  # too few held-out recordings to say anything
        for name, distance in (("frechet", frechet_distance), ("mmd", kernel_distance)):
            found[name]["per_label"][label] = _with_references(distance, chosen, count)
        clips = np.concatenate([chosen["training"], chosen["held_out"]])
        found["diversity"]["per_label"][label] = diversity(chosen["takes"], clips)
    ratios = list(found["diversity"]["per_label"].values())
    found["diversity"]["all"] = float(np.mean(ratios)) if ratios else None
    return found


def _with_references(
    distance: Callable[[Array, Array], float], points: dict[str, Array], count: int
) -> dict[str, float]:
    """Distance to held-out clips of takes, of other real clips (floor) and of noise (ceiling)."""
    real = points["held_out"]
    return {
        name: matched(distance, points[kind], real, num_items=count)
        for name, kind in (("takes", "takes"), ("real", "training"), ("noise", "noise"))
    }


def _judge(pipeline: Pipeline | None, training: Sounds, rate: int) -> Judge | None:
    """The model's own; for a codec alone one of its training clips, where they have labels."""
    if pipeline is not None:
        return pipeline.judge
    known = [index for index, label in enumerate(training.labels) if label]
    labels = [training.labels[index] for index in known]
    if len(set(labels)) < 2:
        return None
    return Judge.fit([training.wavs[index] for index in known], labels, rate)


def _recognition(judge: Judge, real: Sounds, decoded: Sounds, made: Sounds | None) -> Metrics:
    """What the judge hears takes, reconstructions and real clips as."""
    labels = judge.labels
    known = [index for index, label in enumerate(real.labels) if label in labels]

    def heard(sounds: Sounds, chosen: Sequence[int]) -> Accuracy:
        expected = [sounds.labels[index] for index in chosen]
        return compare_labels(expected, judge.predict([sounds.wavs[index] for index in chosen]))

    results = {"reconstructions": heard(decoded, known), "real": heard(real, known)}
    if made is not None:
        results = {"takes": heard(made, range(len(made.wavs))), **results}
    per_label = {
        label: {
            name: result.per_label[label]
            for name, result in results.items()
            if label in result.per_label
        }
        for label in labels
    }
    overall = {name: result.overall for name, result in results.items()}
    found = {**overall, "chance": 1 / len(labels), "per_label": per_label}
    if made is not None:
        found["confusion"] = results["takes"].confusion
    return {"recognised": found}


def _machine() -> str:
    """What the figures were measured on."""
    return f"{processor_name()}, {os.cpu_count()} cores"


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How often the expected label was named.

    Attributes:
        overall: share of clips, 0 to 1.
        per_label: the same for each expected label.
        confusion: {expected label: {predicted label: number of clips}}, without zeros.
    """

    overall: float
    per_label: dict[str, float]
    confusion: dict[str, dict[str, int]]


def compare_labels(expected: Sequence[str], predicted: Sequence[str]) -> Accuracy:
    """Count right answers, per label and over all."""
    confusion: dict[str, dict[str, int]] = {}
    for label in sorted(set(expected)):
        named = Counter(p for e, p in zip(expected, predicted, strict=True) if e == label)
        confusion[label] = dict(named.most_common())
    right = {label: named.get(label, 0) for label, named in confusion.items()}
    return Accuracy(
        overall=sum(right.values()) / len(expected),
        per_label={k: right[k] / sum(named.values()) for k, named in confusion.items()},
        confusion=confusion,
    )
