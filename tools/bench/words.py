"""Whether takes follow the words of a prompt: adjectives, "A and B", "A, then B", and captions.

    python tools/bench/words.py runs/diffusion --takes 8
    python tools/bench/words.py runs/diffusion --labels rain rooster --settings guidance_scale=2

For each pair of words, such as dull and bright, and each label, takes are made with the same seeds
and measured: the figure is the difference between the two over the spread between seeds, its
median over the labels, beside that of the training clips which are called so. "recognised" is the
share of these takes that the run's judge names by their label. The judge learnt single labels, and
hears both in one of five real mixtures. So "A and B" has a judge of its own, which learnt training
clips and mixtures of them: both labels have to be its first two. Of "A, then B" each half has to be
named by its label. What real mixtures of held-out clips reach, as they are and through the codec,
is the best to hope for. Last, the captions of training clips as they stand, and made-up words, of
which the share of the label that is named most often is told: 1 is always the same.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from timing import machine, write_figures
from torch import Tensor

from audiogen.audio.measure.traits import TRAITS, Trait, measure_traits
from audiogen.data.loading.captions import WORDS
from audiogen.data.loading.clips import read_beginning, read_clips, thinned
from audiogen.data.loading.mixtures import Mixture, mix, plan_mixtures
from audiogen.data.manifest import ManifestRow, read_split
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.generators import changed_sampling
from audiogen.judge.hearing import clip_features, coloured_version
from audiogen.judge.judge import INVERSE_PENALTY, MAX_ITERATIONS, Judge
from audiogen.pipeline import Pipeline
from audiogen.trees import parse_overrides
from audiogen.types import LatentSpec

BATCH = 8
MIXTURE_SEEDS = (100, 101)
"""Of mixtures that the model has not learnt."""
NONSENSE = ("blorf", "zinta kuvo", "mirvel", "oxquil tep", "narbo fleen", "wuddle", "gripsan vo")

Make = Callable[[Sequence[str], Sequence[int]], list[Tensor]]
"""Takes of prompts and seeds."""
Named = tuple[str, str]


@dataclass(frozen=True)
class Listener:
    """What is heard of a sound (C, T).

    Attributes:
        judge: of single labels.
        scaler: of features, for the models.
        models: by label, whether it is in a sound.
    """

    judge: Judge
    scaler: Any
    models: Mapping[str, Any]

    @classmethod
    def of(
        cls, config: ExperimentConfig, spec: LatentSpec, judge: Judge, labels: Sequence[str]
    ) -> Listener:
        """Fit the models on training clips, on mixtures of them, and on coloured ones of both."""
        rows = _rows(config, "train", labels)
        wavs = read_clips(config.sounds, rows, spec, config.data.clip_seconds)
        there = [{row.label} for row in rows]
        for one in _mixtures(rows):
            if one.joint == "and":
                wavs.append(_mixed(config, one, spec))
                there.append({one.first.label, one.second.label})
        rng = np.random.default_rng(0)
        wavs += [coloured_version(wav, spec.sample_rate, rng) for wav in wavs]
        features = np.stack([clip_features(wav, spec.sample_rate) for wav in wavs])
        scaler = StandardScaler().fit(features)
        scaled = scaler.transform(features)
        models = {
            label: LogisticRegression(C=INVERSE_PENALTY, max_iter=MAX_ITERATIONS).fit(
                scaled, [label in names for names in there * 2]
            )
            for label in labels
        }
        return cls(judge, scaler, models)

    def both(self, wav: Tensor, names: Named) -> bool:
        """Whether the two labels are the likeliest two."""
        scaled = self.scaler.transform(clip_features(wav, self.judge.sample_rate)[None])
        likely = {name: model.decision_function(scaled)[0] for name, model in self.models.items()}
        return set(sorted(likely, key=likely.__getitem__)[-2:]) == set(names)

    def in_turn(self, wav: Tensor, names: Named) -> bool:
        """Whether each half is named by its label."""
        half = wav.shape[1] // 2
        return self.judge.predict([wav[:, :half], wav[:, half:]]) == list(names)

    def named(self, wavs: Sequence[Tensor], labels: Sequence[str]) -> float:
        """Share of sounds that are named by their labels."""
        return float(np.mean(np.asarray(self.judge.predict(wavs)) == np.asarray(labels)))


def over_spread(less: Sequence[float], more: Sequence[float]) -> float:
    """Difference of two means over the mean spread of the two."""
    spread = np.sqrt((np.var(less, ddof=1) + np.var(more, ddof=1)) / 2)
    return float((np.mean(more) - np.mean(less)) / max(spread, 1e-9))


def word_figures(
    make: Make, listener: Listener, rate: int, labels: Sequence[str], takes: int
) -> dict[str, dict[str, Any]]:
    """Figures of each pair of words."""
    found = {}
    for trait, words in WORDS.items():
        ratios, right = {}, []
        for label in labels:
            prompts = [f"{word} {label}" for word in words for _ in range(takes)]
            wavs = make(prompts, [*range(takes)] * 2)
            values = [measure_traits(wav, rate).get(trait, float("nan")) for wav in wavs]
            ratios[label] = over_spread(values[:takes], values[takes:])
            right.append(listener.named(wavs, [label] * len(wavs)))
        found[" / ".join(words)] = {
            "takes": statistics.median(ratios.values()),
            "recognised": statistics.mean(right),
            "per_label": ratios,
        }
    return found


def real_words(
    config: ExperimentConfig, pipeline: Pipeline, labels: Sequence[str]
) -> dict[str, float]:
    """The same of training clips: of the thirds of each label, the median over labels."""
    spec, seconds = pipeline.codec.spec, config.data.clip_seconds
    values: dict[tuple[str, Trait], list[float]] = {}
    for row in _rows(config, "train", labels):
        wav = read_beginning(config.sounds, row, spec, seconds)
        for trait, value in measure_traits(wav, spec.sample_rate).items():
            values.setdefault((row.label, trait), []).append(value)
    found = {}
    for trait in TRAITS:
        ratios = []
        for label in labels:
            ordered = sorted(values.get((label, trait), []))
            third = len(ordered) // 3
            if third >= 2:
                ratios.append(over_spread(ordered[:third], ordered[-third:]))
        found[" / ".join(WORDS[trait])] = statistics.median(ratios) if ratios else float("nan")
    return found


def mixture_figures(
    make: Make, listener: Listener, names: Sequence[Named], takes: int
) -> dict[str, float]:
    """Shares of takes of "A and B" and of "A, then B" in which both are heard."""
    asked = [pair for pair in names for _ in range(takes)]
    seeds = [*range(takes)] * len(names)
    found = {}
    for joint, is_heard in (("and", listener.both), ("then", listener.in_turn)):
        between = " and " if joint == "and" else ", then "
        wavs = make([between.join(pair) for pair in asked], seeds)
        heard = [is_heard(wav, pair) for wav, pair in zip(wavs, asked, strict=True)]
        found[joint] = float(np.mean(heard))
    return found


def real_mixtures(
    config: ExperimentConfig, pipeline: Pipeline, listener: Listener, labels: Sequence[str]
) -> dict[str, float]:
    """The same of mixtures of held-out clips, as they are and through the codec."""
    codec = pipeline.codec
    heard: dict[str, list[bool]] = {}
    for one in _mixtures(_rows(config, "held_out", labels)):
        wav = _mixed(config, one, codec.spec)
        decoded = codec.decode(codec.encode(wav[None].to(codec.device)))[0].cpu()
        is_heard = listener.both if one.joint == "and" else listener.in_turn
        names = (one.first.label, one.second.label)
        heard.setdefault(one.joint, []).append(is_heard(wav, names))
        heard.setdefault(f"{one.joint}, codec", []).append(is_heard(decoded, names))
    return {kind: float(np.mean(found)) for kind, found in heard.items()}


def _rows(
    config: ExperimentConfig, split: Literal["train", "held_out"], labels: Sequence[str]
) -> list[ManifestRow]:
    """Clips of one side that have one of the labels."""
    return [row for row in read_split(config.run.manifest, split) if row.label in labels]


def _mixtures(rows: Sequence[ManifestRow]) -> list[Mixture]:
    return [one for seed in MIXTURE_SEEDS for one in plan_mixtures(rows, seed=seed)]


def _mixed(config: ExperimentConfig, mixture: Mixture, spec: LatentSpec) -> Tensor:
    return mix(config.sounds, mixture, spec, spec.num_frames(config.data.clip_seconds))


def caption_figures(
    make: Make, listener: Listener, rows: Sequence[ManifestRow], takes: int
) -> dict[str, float]:
    """Captions of training clips as they stand, and words that mean nothing."""
    told = [row for row in rows if row.prompt and row.prompt != row.label and row.label]
    few = thinned(told, 5 * takes) if told else []
    found = {}
    if few:
        wavs = make([row.prompt for row in few], range(len(few)))
        found["captions"] = listener.named(wavs, [row.label for row in few])
    made_up = [word for word in NONSENSE for _ in range(takes)]
    names = Counter(listener.judge.predict(make(made_up, range(len(made_up)))))
    found["made-up words, of the most frequent label"] = max(names.values()) / len(made_up)
    return found


def takes_of(
    pipeline: Pipeline, settings: str, seconds: float, prompts: Sequence[str], seeds: Sequence[int]
) -> list[Tensor]:
    """Make takes, some at a time."""
    sampling = changed_sampling(pipeline.config.sample, parse_overrides(settings.split()))
    wavs: list[Tensor] = []
    for start in range(0, len(prompts), BATCH):
        some, own = prompts[start : start + BATCH], seeds[start : start + BATCH]
        wavs += list(pipeline(some, seconds=seconds, seeds=own, sampling=sampling).cpu())
    return wavs


def show(figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the tables."""
    print(f"{'words':<18} {'takes':>6} {'clips':>6} {'recognised':>11}")
    for name, row in figures["words"].items():
        print(f"{name:<18} {row['takes']:>6.2f} {row['clips']:>6.2f} {row['recognised']:>11.2f}")
    real = figures["real mixtures"]
    print(f"\n{'both heard':<18} {'takes':>6} {'real':>6} {'real, codec':>11}")
    for joint, share in figures["mixtures"].items():
        best = [real.get(kind, float("nan")) for kind in (joint, f"{joint}, codec")]
        print(f"{joint:<18} {share:>6.2f} {best[0]:>6.2f} {best[1]:>11.2f}")
    print("\nrecognised")
    for name, share in figures["captions"].items():
        print(f"{name:<44} {share:.2f}")


def main() -> None:
    """Print the figures, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--takes", type=int, default=8, help="of each word and label")
    parser.add_argument("--labels", nargs="+", help="all where none are given")
    parser.add_argument("--pairs", type=int, default=45, help="of labels that are mixed, at most")
    parser.add_argument("--settings", default="", help="of sampling, such as guidance_scale=2")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    config, pipeline = load_config(given.run), Pipeline.from_pretrained(given.run)
    if pipeline.judge is None:
        parser.error(f"{given.run}: its sounds have no labels to be recognised by")
    labels = sorted(given.labels or pipeline.judge.labels)
    listener = Listener.of(config, pipeline.codec.spec, pipeline.judge, labels)
    names: list[Named] = list(itertools.combinations(labels, 2))
    names = names[:: max(1, -(-len(names) // given.pairs))]
    make: Make = partial(takes_of, pipeline, given.settings, config.evaluate.seconds)
    rate, rows = pipeline.codec.spec.sample_rate, _rows(config, "train", labels)
    few = max(1, given.takes // 4)
    words = word_figures(make, listener, rate, labels, given.takes)
    for name, ratio in real_words(config, pipeline, labels).items():
        words[name]["clips"] = ratio
    figures: dict[str, Mapping[str, Any]] = {
        "words": words,
        "mixtures": mixture_figures(make, listener, names, few),
        "real mixtures": real_mixtures(config, pipeline, listener, labels),
        "captions": caption_figures(make, listener, rows, given.takes),
    }
    show(figures)
    told = machine()
    print(f"\n{told['processor']}, {told['cores']} cores; {given.takes} takes; {given.settings}")
    if given.out is not None:
        settings = {"takes": given.takes, "labels": labels, "settings": given.settings}
        write_figures(given.out, {"machine": told, **settings, **figures})


if __name__ == "__main__":
    main()
