"""`audiogen evaluate`: takes, metrics with their references, and the report."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from audiogen.audio.measure.texture_features import Array
from audiogen.codecs import Codec, load_codec
from audiogen.data.intake.scan import LEAST_HELD_OUT, LEAST_TRAINING
from audiogen.data.manifest import read_split
from audiogen.devices import usable_device
from audiogen.evaluation.embedded import embedded_scores
from audiogen.evaluation.machine import processor_name
from audiogen.evaluation.material import (
    MAX_HELD_OUT,
    MAX_TRAINING,
    PLANTED_COPIES,
    Sounds,
    real_sounds,
    reconstructions,
    takes,
    write_pairs,
)
from audiogen.evaluation.metrics.density import density
from audiogen.evaluation.metrics.distances import (
    diversity,
    frechet_distance,
    matched,
    mmd,
    noise_like,
)
from audiogen.evaluation.metrics.embedding import why_no_embedding
from audiogen.evaluation.metrics.feature_space import FeatureSpace
from audiogen.evaluation.metrics.heard import characters
from audiogen.evaluation.metrics.near_copies import CopyCheck
from audiogen.evaluation.metrics.planted_copies import planted_copies
from audiogen.evaluation.metrics.reconstruction import codec_scores
from audiogen.evaluation.recognition import recognition
from audiogen.evaluation.report.run_page import write_report
from audiogen.evaluation.scoreboard import summary
from audiogen.evaluation.scores import (
    Copies,
    Distance,
    Diversity,
    Key,
    Recognised,
    Referenced,
    Scores,
    TakeScores,
    read_scores,
)
from audiogen.experiment import ExperimentConfig
from audiogen.generators.ode.likelihood import UnsolvedError
from audiogen.judge.judge import train_judge
from audiogen.locking import hold
from audiogen.pipeline import Pipeline
from audiogen.run_folder import find_model, how_far, model_digest
from audiogen.stage_settings import require_known_sounds
from audiogen.storage import sha256_file

_log = logging.getLogger(__name__)


def evaluate(config: ExperimentConfig, device: str = "auto") -> Path:
    """Evaluate a finished run on its held-out recordings; return the report's path.

    A recipe without a generator has its codec evaluated. Where nothing is held out, what needs
    such recordings is left out, and so is a likelihood that cannot be had; both are said. Does
    nothing when the report is of these weights and these settings already.

    Args:
        config: of the run.
        device: that its models run on; see `devices.usable_device`.

    Raises:
        BusyError: another process is at work on the run.
        ValueError: the device cannot be used.
    """
    with hold(config.run_dir):
        report = config.run.report
        require_known_sounds(config.run, config.stages[-1])
        key = Key(
            model_digest=_digest(config),
            sample=config.sample.model_dump(mode="json"),
            evaluate=config.evaluate.model_dump(mode="json"),
            embedding=config.generator is not None and not why_no_embedding(),
        )
        scores = _known(config.run.scores)
        if scores is None or scores.key != key or not report.is_file():
            if config.generator is None:
                codec = load_codec(config.run.model("codec")).to(usable_device(device))
                scores = compare(config, key, codec, None)
            else:
                pipeline = Pipeline.from_pretrained(config.run_dir, device=device)
                scores = compare(config, key, pipeline.codec, pipeline)
            scores.write(config.run.scores)
            write_report(config.run_dir)
        for line in summary(scores):
            _log.info("%s", line)
        for note in scores.notes:
            _log.warning("%s: %s", config.run_dir, note)
        return report


def _known(path: Path) -> Scores | None:
    """What was measured before; None where that cannot be read any more."""
    try:
        return read_scores(path)
    except (FileNotFoundError, ValueError):
        return None


def _digest(config: ExperimentConfig) -> str:
    """Name the weights that are evaluated; FileNotFoundError when training has not made them."""
    if config.generator is not None:
        return model_digest(find_model(config.run_dir))
    weights = config.run.model("codec") / "weights.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(
            f"{config.run_dir}: no finished codec here{how_far(config.run_dir)}\n"
            f"  expected {weights}; `audiogen train` makes it"
        )
    return sha256_file(weights)[:16]


def compare(config: ExperimentConfig, key: Key, codec: Codec, pipeline: Pipeline | None) -> Scores:
    """Return every metric that applies (see docs/metrics.md for what each one says).

    Leaves reconstructions and takes in the run's folder. Without a pipeline there are no takes.
    """
    spec = codec.spec
    held_out = read_split(config.run.manifest, "held_out")
    training = real_sounds(config, spec, read_split(config.run.manifest, "train"), MAX_TRAINING)
    real = real_sounds(config, spec, held_out, MAX_HELD_OUT)
    sounds: dict[str, Sounds] = {}
    measured = take_scores = likelihood = second = None
    copies = decoded = replace(training, wavs=[], labels=[], names=[])
    notes: list[str] = []
    if held_out:
        decoded, speed = reconstructions(config, codec, real)
        write_pairs(config.run.reconstructions, real, decoded, spec.sample_rate)
        measured = codec_scores(config, codec, real, decoded, speed)
        sounds = {"reconstructions": decoded, "real": real}
    if pipeline is None:
        judge = train_judge(training.wavs, training.labels, spec.sample_rate)
    else:
        judge = pipeline.judge
        made, cost = takes(config, pipeline, _prompts(config, training))
        sounds = {"takes": made, **sounds}
        if held_out:
            copies, _ = reconstructions(config, codec, training)
            second = _second(real, made, training, copies, spec.sample_rate)
        take_scores = _take_scores(
            config, pipeline, (training, copies), (real, decoded), made, cost
        )
        if held_out and not key.embedding:
            notes.append(f"no FAD and KAD: {why_no_embedding()}")
        elif held_out:
            sets = {"takes": made, "held_out": real, "training": training, "copies": copies}
            sets["noise"] = replace(real, wavs=noise_like(real.wavs, config.evaluate.seed))
            fad_kad = embedded_scores(sets, spec.sample_rate, codec.device)
            take_scores = take_scores.model_copy(update=fad_kad)
        try:
            likelihood = density(config, pipeline)
        except UnsolvedError as error:  # one figure, for which nobody shall lose the others
            notes.append(f"no likelihood: {'; '.join(map(str.strip, str(error).splitlines()))}")
    return Scores(
        key=key,
        machine=f"{processor_name(codec.device)}, {os.cpu_count()} cores",
        codec=measured,
        takes=take_scores,
        recognised=None if judge is None else recognition(judge, sounds),
        second=second,
        character=characters(sounds, spec.sample_rate),
        likelihood=likelihood,
        notes=tuple(notes),
    )


def _second(
    real: Sounds, made: Sounds, training: Sounds, copies: Sounds, sample_rate: int
) -> Recognised | None:
    """What a judge of the held-out clips hears; None where it could tell no two labels apart."""
    judge = train_judge(real.wavs, real.labels, sample_rate, real.features(sample_rate))
    if judge is None:
        return None
    return recognition(judge, {"takes": made, "real": training, "reconstructions": copies})


def _prompts(config: ExperimentConfig, training: Sounds) -> list[tuple[str, str]]:
    """(label, prompt) of every take: the labels, or captions where there are no labels."""
    count = config.evaluate.takes_per_label
    labels = sorted({label for label in training.labels if label})
    if labels:
        return [(label, label) for label in labels for _ in range(count)]
    manifest = config.run.manifest
    rows = read_split(manifest, "held_out") or read_split(manifest, "train")
    captions = sorted({row.prompt for row in rows}) or [""]
    return [("", captions[number % len(captions)]) for number in range(4 * count)]


def _take_scores(
    config: ExperimentConfig,
    pipeline: Pipeline,
    learnt: tuple[Sounds, Sounds],
    held_out: tuple[Sounds, Sounds],
    made: Sounds,
    seconds_per_take: float | None,
) -> TakeScores:
    """Compare the takes with recordings, as sets and one by one.

    What was learnt, and what was not, is given as it was recorded, and through the codec.
    """
    real, decoded = held_out
    spec, seconds = pipeline.codec.spec, config.evaluate.seconds
    generator = pipeline.generator
    distances, spread = _texture_scores(config, learnt, real, made, spec.sample_rate)
    return TakeScores(
        frechet=distances.get("frechet"),
        mmd=distances.get("mmd"),
        diversity=spread,
        copies=_copies(config, pipeline.codec, learnt[0], decoded, made),
        parameters=sum(part.numel() for part in generator.parameters()),
        network_evaluations=generator.network_evaluations(config.sample, spec.num_frames(seconds)),
        batch_size=config.evaluate.batch_size,
        seconds_per_take=seconds_per_take,
    )


def _copies(
    config: ExperimentConfig, codec: Codec, training: Sounds, others: Sounds, made: Sounds
) -> Copies:
    """Look for near-copies among the takes, and among sounds of which it is known what they are.

    Those are planted copies of training sounds, and `others`; all through the codec, as takes are.
    """
    rate = codec.spec.sample_rate
    sources = {row.path: row.source_id for row in read_split(config.run.manifest, "train")}
    check = CopyCheck(training, rate, sources=sources)
    planted = {
        kind: reconstructions(config, codec, sounds)[0]
        for kind, sounds in planted_copies(training, rate, PLANTED_COPIES).items()
    }
    return Copies(
        threshold=check.threshold,
        nearest=check.nearest(made),
        planted={kind: check.share(sounds) for kind, sounds in planted.items()},
        held_out=check.share(others) if others.wavs else None,
    )


def _texture_scores(
    config: ExperimentConfig, learnt: tuple[Sounds, Sounds], real: Sounds, made: Sounds, rate: int
) -> tuple[dict[str, Distance], Diversity]:
    """Fréchet distance, MMD and diversity on texture statistics, per label and over all.

    Each is left out where there are too few sounds for it.
    """
    noise = replace(real, wavs=noise_like(real.wavs, config.evaluate.seed))
    training, copies = learnt
    sounds = {
        "training": training,
        "copies": copies,
        "held_out": real,
        "takes": made,
        "noise": noise,
    }
    features = {kind: found.textures(rate) for kind, found in sounds.items() if found.wavs}
    if len(np.unique(features["training"], axis=0)) < LEAST_TRAINING:
        return {}, Diversity()
    space = FeatureSpace.fit(features["training"])
    points = {kind: space.project(found) for kind, found in features.items()}
    functions: dict[str, Callable[[Array, Array], float]] = {
        "frechet": frechet_distance,
        "mmd": lambda a, b: mmd(a, b, bandwidth=space.bandwidth),
    }
    none = points["training"][:0]
    of_label = {
        label: {
            kind: points.get(kind, none)[found.of(label)] if found.wavs else none
            for kind, found in sounds.items()
        }
        for label in sorted(set(made.labels))
    }
    distances = {}
    if _is_enough(*(points.get(kind, none) for kind in sounds)):
        distances = {
            name: Distance(
                all=_with_references(distance, points, len(made.wavs)),
                per_label={
                    label: _with_references(distance, own, config.evaluate.takes_per_label)
                    for label, own in of_label.items()
                    if _is_enough(*own.values())
                },
            )
            for name, distance in functions.items()
        }
    ratios = {}
    for label, own in of_label.items():
        recorded = np.concatenate([own["training"], own["held_out"]])
        if _is_enough(own["takes"], recorded):
            ratios[label] = diversity(own["takes"], recorded)
    mean = float(np.mean(list(ratios.values()))) if ratios else None
    return distances, Diversity(all=mean, per_label=ratios)


def _is_enough(*sets: Array) -> bool:
    """Whether each set has two points; fewer have no spread, and say nothing."""
    return min(map(len, sets)) >= LEAST_HELD_OUT


def _with_references(
    distance: Callable[[Array, Array], float], points: dict[str, Array], count: int
) -> Referenced:
    """Distance to held-out clips of takes, of other real clips (floor) and of noise (ceiling).

    Training clips through the codec are what takes would be that are learnt by heart.
    """
    takes_, real, noise, copies = (
        matched(distance, points[kind], points["held_out"], num_items=count)
        for kind in ("takes", "training", "noise", "copies")
    )
    return Referenced(takes=takes_, real=real, noise=noise, copies=copies)
