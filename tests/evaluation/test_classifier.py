import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from audiogen.audio.dsp import resample
from audiogen.audio.io.files import read_audio
from audiogen.evaluation.judge.classifier import (
    SoundClassifier,
    clip_features,
    coloured_version,
    compare_labels,
)

RATE = 16_000


def sound(label: str, seed: int) -> Tensor:
    """One second of hiss, hum or ticks."""
    rng = np.random.default_rng(seed)
    time = np.arange(RATE) / RATE
    wav = 0.02 * rng.standard_normal(RATE)
    if label == "hiss":
        wav = 0.2 * rng.standard_normal(RATE)
    elif label == "hum":
        base = rng.uniform(80, 200)
        wav = wav + sum(0.2 / k * np.sin(2 * np.pi * k * base * time) for k in range(1, 6))
    else:
        for start in rng.integers(0, RATE - 200, 5):
            wav[start : start + 200] += 0.8 * rng.standard_normal(200) * np.hanning(200)
    return torch.from_numpy(wav).float()[None]


def examples(labels: list[str], seeds: range) -> tuple[list[Tensor], list[str]]:
    pairs = [(sound(label, seed), label) for label in labels for seed in seeds]
    return [wav for wav, _ in pairs], [label for _, label in pairs]


@cache
def trained() -> SoundClassifier:
    return SoundClassifier(RATE).fit(*examples(["hiss", "hum", "ticks"], range(8)))


def test_it_names_sounds_it_has_not_heard_whatever_their_level() -> None:
    wavs, labels = examples(["hiss", "hum", "ticks"], range(50, 55))
    assert trained().labels == ["hiss", "hum", "ticks"]
    assert trained().predict(wavs) == labels
    assert trained().predict([0.05 * wav for wav in wavs]) == labels
    assert trained().accuracy(wavs, labels).overall == 1
    assert trained().scores(wavs).shape == (15, 3)


def test_it_hears_through_colour() -> None:
    wavs, labels = examples(["hiss", "hum", "ticks"], range(60, 65))
    rng = np.random.default_rng(9)
    coloured = [coloured_version(wav, RATE, rng) for wav in wavs]
    assert trained().accuracy(coloured, labels).overall >= 0.9


def test_training_is_repeatable_and_two_labels_are_enough() -> None:
    wavs, labels = examples(["hiss", "hum"], range(4))
    first = SoundClassifier(RATE, num_versions=1, seed=3).fit(wavs, labels)
    second = SoundClassifier(RATE, num_versions=1, seed=3).fit(wavs, labels)
    assert np.array_equal(first.scores(wavs), second.scores(wavs))
    assert first.predict(wavs) == labels


def test_wrong_labels_teach_nothing() -> None:
    wavs, labels = examples(["hiss", "hum", "ticks"], range(70, 74))
    shuffled = [labels[(k + 4) % len(labels)] for k in range(len(labels))]
    assert trained().accuracy(wavs, shuffled).overall == 0


def test_misuse_is_refused() -> None:
    wavs, labels = examples(["hiss"], range(2))
    with pytest.raises(ValueError, match="two or more labels"):
        SoundClassifier(RATE).fit(wavs, labels)
    with pytest.raises(ValueError, match="call fit"):
        SoundClassifier(RATE).predict(wavs)
    with pytest.raises(ValueError, match="2 clips and 1 labels"):
        trained().accuracy(wavs, labels[:1])
    assert trained().predict([]) == []


def test_compare_labels_counts() -> None:
    found = compare_labels(["a", "a", "a", "b"], ["a", "b", "b", "b"])
    assert found.overall == 0.5
    assert found.per_label == {"a": pytest.approx(1 / 3), "b": 1.0}
    assert found.confusion == {"a": {"b": 2, "a": 1}, "b": {"b": 1}}


def test_a_coloured_version_keeps_length_and_level() -> None:
    wav = sound("ticks", 0)[:, :12_345]
    other = coloured_version(wav, RATE, np.random.default_rng(0))
    assert other.shape == wav.shape
    assert other.square().mean().item() == pytest.approx(wav.square().mean().item(), rel=1e-3)
    assert not torch.allclose(other, wav, atol=1e-3)
    silent = coloured_version(torch.zeros(1, RATE), RATE, np.random.default_rng(0))
    assert torch.equal(silent, torch.zeros(1, RATE))


@pytest.mark.parametrize("num_samples", [1_600, 2_500, RATE])
def test_features_are_finite_for_short_and_silent_clips(num_samples: int) -> None:
    for wav in (torch.zeros(1, num_samples), torch.randn(2, num_samples)):
        assert np.isfinite(clip_features(wav, RATE)).all()


@pytest.mark.slow
def test_it_recognises_real_recordings_from_other_sources(esc10: Path) -> None:
    sides: dict[bool, tuple[list[Tensor], list[str]]] = {True: ([], []), False: ([], [])}
    for path in sorted(esc10.glob("*/*.ogg")):
        source = int(re.split("-", path.stem)[1])
        wav, rate = read_audio(path)
        wavs, labels = sides[source % 5 == 0]
        wavs.append(resample(wav, rate, 22_050))
        labels.append(path.parent.name)
    classifier = SoundClassifier(22_050).fit(*sides[False])
    assert classifier.accuracy(*sides[True]).overall >= 0.85
