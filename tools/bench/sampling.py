"""Quality over sampling settings, for several models of the same data, in one table.

    python tools/bench/sampling.py RUN MODEL [MODEL ...] --settings steps=1 steps=2 steps=4
    python tools/bench/sampling.py RUN RUN --settings guidance_scale=2 "guidance_scale=3 top_k=50"

RUN is a run folder, whose recordings and labels are used. A MODEL is a run or a model folder, such
as runs/flow-fewstep and its teacher runs/flow-fewstep/generator/model; each samples with its own
settings but for those given. Every row has the same prompts and seeds, and
no two takes of a row the same seed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from timing import machine, write_figures
from torch import Tensor

from audiogen.audio.measure.texture_features import texture_features
from audiogen.data.manifest import read_split
from audiogen.evaluation.material import MAX_HELD_OUT, MAX_TRAINING, Sounds, real_sounds
from audiogen.evaluation.metrics.distances import diversity, frechet_distance, matched
from audiogen.evaluation.metrics.feature_space import FeatureSpace
from audiogen.experiment import load_config
from audiogen.generators import SamplingConfig, changed_sampling
from audiogen.judge.judge import Judge
from audiogen.pipeline import Pipeline
from audiogen.trees import parse_overrides


@dataclass(frozen=True)
class References:
    """Real recordings, and what compares takes with them."""

    training: Sounds
    held_out: Sounds
    rate: int
    judge: Judge
    second: Judge
    space: FeatureSpace

    @classmethod
    def of(cls, run: Path) -> References:
        """Read the recordings of a run."""
        config = load_config(run)
        spec = Pipeline.from_pretrained(run).codec.spec
        training = real_sounds(config, spec, read_split(config.run.manifest, "train"), MAX_TRAINING)
        held_out = real_sounds(
            config, spec, read_split(config.run.manifest, "held_out"), MAX_HELD_OUT
        )
        rate = spec.sample_rate
        return cls(
            training,
            held_out,
            rate,
            Judge.fit(training.wavs, training.labels, rate),
            Judge.fit(held_out.wavs, held_out.labels, rate),
            FeatureSpace.fit(texture_features(training.wavs, rate)),
        )

    def score(self, wavs: Sequence[Tensor], labels: Sequence[str]) -> dict[str, float]:
        """Recognised by either judge, Fréchet distances to held-out clips, and diversity."""
        made = self.space.project(texture_features(wavs, self.rate))
        real = self.space.project(texture_features(self.held_out.wavs, self.rate))
        learnt = self.space.project(texture_features(self.training.wavs, self.rate))
        ratios, distances = [], []
        for label in sorted(set(labels)):
            own = [index for index, found in enumerate(labels) if found == label]
            clips = [learnt[self.training.of(label)], real[self.held_out.of(label)]]
            ratios.append(diversity(made[own], np.concatenate(clips)))
            distances.append(matched(frechet_distance, made[own], clips[1], num_items=len(own)))
        return {
            "recognised": float(np.mean(np.asarray(self.judge.predict(wavs)) == labels)),
            "second": float(np.mean(np.asarray(self.second.predict(wavs)) == labels)),
            "class_frechet": float(np.mean(distances)),
            "frechet": matched(frechet_distance, made, real, num_items=len(wavs)),
            "diversity": float(np.mean(ratios)),
        }


def takes(
    pipeline: Pipeline,
    labels: Sequence[str],
    count: int,
    sampling: SamplingConfig,
    seconds: float,
    first_seed: int,
) -> tuple[list[Tensor], list[str], float]:
    """Make `count` takes of each label; return them, their labels, and the seconds per take."""
    wavs: list[Tensor] = []
    before = time.perf_counter()
    for number, label in enumerate(labels):
        seeds = range(first_seed + number, first_seed + count * len(labels), len(labels))
        wavs += list(pipeline([label] * count, seconds=seconds, seeds=seeds, sampling=sampling))
    cost = (time.perf_counter() - before) / len(wavs)
    return wavs, [label for label in labels for _ in range(count)], cost


def main() -> None:
    """Print the table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--settings", nargs="+", default=[""])
    parser.add_argument("--takes", type=int, default=8, help="per label")
    parser.add_argument("--seed", type=int, default=0, help="of the first take")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    known = References.of(given.run)
    labels = sorted(set(known.training.labels) & set(known.held_out.labels))
    seconds = known.training.wavs[0].shape[1] / known.rate
    rows: list[dict[str, Any]] = []
    heads = ("model", "settings", "recognised", "second", "class F.", "Fréchet", "diversity", "s")
    print("{:<32} {:<28} {:>10} {:>7} {:>8} {:>8} {:>9} {:>6}".format(*heads))
    for model in given.models:
        pipeline = Pipeline.from_pretrained(model)
        for settings in given.settings:
            sampling = changed_sampling(pipeline.config.sample, parse_overrides(settings.split()))
            wavs, asked, cost = takes(pipeline, labels, given.takes, sampling, seconds, given.seed)
            scores = known.score(wavs, asked)
            rows.append({"model": str(model), "settings": settings, **scores, "seconds": cost})
            print(
                f"{str(model)[-32:]:<32} {settings:<28} {scores['recognised']:>10.3f}"
                f" {scores['second']:>7.3f} {scores['class_frechet']:>8.2f}"
                f" {scores['frechet']:>8.2f} {scores['diversity']:>9.2f} {cost:>6.3f}",
                flush=True,
            )
    if given.out is not None:
        write_figures(given.out, {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
