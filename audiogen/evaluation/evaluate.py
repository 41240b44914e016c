"""`audiogen evaluate`: takes, metrics with their references, and the report."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audiogen.evaluation.classifier import SoundClassifier
from audiogen.evaluation.features import Array, FeatureSpace, texture_features
from audiogen.evaluation.material import (
    MAX_HELD_OUT,
    MAX_TRAINING,
    Sounds,
    Speed,
    real_sounds,
    reconstructions,
    takes,
)
from audiogen.evaluation.metrics import (
    diversity,
    frechet_distance,
    matched,
    mmd,
    nearest_clips,
    noise_like,
    reconstruction_metrics,
)
from audiogen.evaluation.report import write_report
from audiogen.experiment import ExperimentConfig
from audiogen.pipeline import Pipeline, find_model, model_digest
from audiogen.storage import atomic_write_text

Metrics = dict[str, Any]


def evaluate(config: ExperimentConfig) -> Path:
    """Evaluate a finished run on its held-out recordings; return the report's path.

    Does nothing when the report is of this model and these settings already.
    """
    run = config.run_dir
    report, metrics_file = run / "report.html", run / "evaluation" / "metrics.json"
    key = {
        "model_digest": model_digest(find_model(run)),
        "sample": config.sample.model_dump(mode="json"),
        "evaluate": config.evaluate.model_dump(mode="json"),
    }
    done = json.loads(metrics_file.read_text("utf-8")) if metrics_file.is_file() else {}
    if done.get("key") == key and report.is_file():
        return report
    pipeline = Pipeline.from_pretrained(run)
    metrics = {"key": key, **compare(config, pipeline)}
    atomic_write_text(metrics_file, json.dumps(metrics, indent=1))
    return write_report(run)


def compare(config: ExperimentConfig, pipeline: Pipeline) -> Metrics:
    """Make the takes and return every metric (see docs/metrics.md for what each one says)."""
    spec = pipeline.codec.spec
    if not config.rows("held_out"):
        raise ValueError(
            f"{config.run_dir / 'manifest.jsonl'}: no held-out recordings to compare with\n"
            "  the clips seem to come from one recording; give them a source_id in metadata.csv"
        )
    training = real_sounds(config, spec, config.rows("train"), MAX_TRAINING)
    real = real_sounds(config, spec, config.rows("held_out"), MAX_HELD_OUT)
    decoded, speed = reconstructions(config, pipeline, real)
    made, seconds_per_take = takes(config, pipeline, _prompts(config, training))
    rate = spec.sample_rate
    sources = {row.path: row.source_id for row in config.rows("train")}
    check = nearest_clips(
        made.wavs, training.wavs, rate, sources=[sources[name] for name in training.names]
    )
    return {
        "codec": _codec(real, decoded, speed, rate),
        **_texture_metrics(config, training, real, made, rate),
        **_recognition(training, real, decoded, made, rate),
        "copies": {
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
        },
        "sampling": {
            "seconds_per_take": seconds_per_take,
            "network_evaluations": config.sample.network_evaluations,
            "batch_size": config.evaluate.batch_size,
        },
        "machine": _machine(),
    }


def _prompts(config: ExperimentConfig, training: Sounds) -> list[tuple[str, str]]:
    """(label, prompt) of every take: the labels, or captions where there are no labels."""
    count = config.evaluate.takes_per_label
    labels = sorted({label for label in training.labels if label})
    if labels:
        return [(label, label) for label in labels for _ in range(count)]
    captions = sorted({row.prompt for row in config.rows("held_out")}) or [""]
    return [("", captions[number % len(captions)]) for number in range(4 * count)]


def _codec(real: Sounds, decoded: Sounds, speed: Speed, rate: int) -> Metrics:
    found = [
        reconstruction_metrics(clip, guess, rate)
        for clip, guess in zip(real.wavs, decoded.wavs, strict=True)
    ]
    return {
        "stft_distance": float(np.mean([item.stft_distance for item in found])),
        "mel_distance": float(np.mean([item.mel_distance for item in found])),
        "si_sdr_db": float(np.mean([item.si_sdr_db for item in found])),
        "num_clips": len(found),
        "encode_times_realtime": speed.encode_times_realtime,
        "decode_times_realtime": speed.decode_times_realtime,
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


def _recognition(
    training: Sounds, real: Sounds, decoded: Sounds, made: Sounds, rate: int
) -> Metrics:
    """What a classifier of real training clips names takes, reconstructions and real clips."""
    labels = sorted(set(training.labels))
    known = [index for index, label in enumerate(real.labels) if label in labels]
    if len(labels) < 2 or not known:
        return {}
    classifier = SoundClassifier(rate).fit(training.wavs, training.labels)

    def heard(sounds: Sounds, chosen: Sequence[int]) -> Any:
        return classifier.accuracy(
            [sounds.wavs[index] for index in chosen], [sounds.labels[index] for index in chosen]
        )

    results = {
        "takes": heard(made, range(len(made.wavs))),
        "reconstructions": heard(decoded, known),
        "real": heard(real, known),
    }
    per_label = {
        label: {
            name: result.per_label[label]
            for name, result in results.items()
            if label in result.per_label
        }
        for label in labels
    }
    overall = {name: result.overall for name, result in results.items()}
    return {
        "recognised": {
            **overall,
            "chance": 1 / len(labels),
            "per_label": per_label,
            "confusion": results["takes"].confusion,
        }
    }


def _machine() -> str:
    """The processor that the figures were measured on."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines()
                 if line.startswith("model name")]  # fmt: skip
        name = names[0] if names else name
    return f"{name}, {os.cpu_count()} cores"
