"""The judge: it learns what can be told apart, and a file of it is itself or is refused."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_text import FakeTextEncoder
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from audiogen.audio.dsp import resample
from audiogen.audio.io.files import read_audio
from audiogen.judge.hearing import clip_features, coloured_version
from audiogen.judge.judge import INVERSE_PENALTY, Judge, label_words, named_label, train_judge
from audiogen.model_folder import read_model
from audiogen.pipeline import Pipeline
from audiogen.run_folder import JUDGE
from audiogen.storage import read_tensors, write_tensors

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
def trained() -> Judge:
    return Judge.fit(*examples(["hiss", "hum", "ticks"], range(8)), RATE)


def right(judge: Judge, wavs: list[Tensor], labels: list[str]) -> float:
    return float(
        np.mean([named == label for named, label in zip(judge.predict(wavs), labels, strict=True)])
    )


def test_it_names_sounds_it_has_not_heard_whatever_their_level() -> None:
    wavs, labels = examples(["hiss", "hum", "ticks"], range(50, 55))
    assert trained().labels == ("hiss", "hum", "ticks")
    assert trained().predict(wavs) == labels
    assert trained().predict([0.05 * wav for wav in wavs]) == labels
    assert trained().predict([]) == []


def test_it_hears_through_colour() -> None:
    wavs, labels = examples(["hiss", "hum", "ticks"], range(60, 65))
    rng = np.random.default_rng(9)
    assert right(trained(), [coloured_version(wav, RATE, rng) for wav in wavs], labels) >= 0.9


def test_what_cannot_be_told_apart_is_not_learnt() -> None:
    wavs, _ = examples(["hiss"], range(32))
    labels = ["left", "right"] * 8  # of sounds that are all alike
    judge = Judge.fit(wavs[:16], labels, RATE, num_versions=0)
    assert right(judge, wavs[:16], labels) > 0.9  # by heart
    assert 0.2 <= right(judge, wavs[16:], labels) <= 0.8


@pytest.mark.parametrize("labels", [["hiss", "hum"], ["hiss", "hum", "ticks"]])
def test_its_probabilities_are_those_of_the_regression(labels: list[str]) -> None:
    wavs, names = examples(labels, range(4))
    judge = Judge.fit(wavs, names, RATE, num_versions=0)
    features = np.stack([clip_features(wav, RATE) for wav in wavs])
    scaled = StandardScaler().fit_transform(features)
    linear = LogisticRegression(C=INVERSE_PENALTY, max_iter=5000).fit(scaled, names)
    assert linear.n_iter_.max() < 5000
    found = [list(judge.probabilities(wav).values()) for wav in wavs]
    assert np.allclose(found, linear.predict_proba(scaled), atol=1e-4)
    assert np.allclose(np.sum(found, axis=1), 1)


def test_training_is_repeatable() -> None:
    given = examples(["hiss", "hum"], range(3))
    first, second = (Judge.fit(*given, RATE, num_versions=1, seed=3) for _ in range(2))
    assert np.array_equal(first.weights, second.weights)
    other = Judge.fit(*given, RATE, num_versions=1, seed=4)
    assert not np.array_equal(first.weights, other.weights)


def test_misuse_is_refused() -> None:
    wavs, labels = examples(["hiss"], range(2))
    with pytest.raises(ValueError, match="2 classes"):
        Judge.fit(wavs, labels, RATE)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        Judge.fit(wavs, labels[:1], RATE)


def test_only_labelled_clips_are_learnt_and_two_labels_are_needed() -> None:
    wavs, _ = examples(["hiss", "hum"], range(2))
    judge = train_judge(wavs, ["hiss", "", "hum", "hum"], RATE)
    assert judge is not None
    assert judge.labels == ("hiss", "hum")
    assert train_judge(wavs, ["hiss", "", "", "hiss"], RATE) is None
    assert train_judge([], [], RATE) is None


def test_it_is_read_as_it_was_written_bit_by_bit(tmp_path: Path) -> None:
    trained().write(tmp_path / JUDGE)
    again = Judge.read(tmp_path / JUDGE)
    for name in ("mean", "scale", "weights", "bias"):
        assert getattr(again, name).tobytes() == getattr(trained(), name).tobytes()
    wav = sound("ticks", 9)
    assert again.probabilities(wav) == trained().probabilities(wav)
    assert (again.labels, again.sample_rate) == (trained().labels, RATE)
    assert len(again.digest) == 16
    again.write(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / JUDGE).read_bytes()
    assert (tmp_path / JUDGE).stat().st_size < 50_000


def test_a_file_that_is_no_judge_is_refused_by_name(tmp_path: Path) -> None:
    path, good = tmp_path / JUDGE, trained()
    for damaged in (
        replace(good, weights=good.weights[:, :-1]),
        replace(good, bias=good.bias * np.float32("nan")),
        replace(good, labels=("one",)),
    ):
        damaged.write(path)
        with pytest.raises(ValueError, match=f"{JUDGE}: not a recogniser"):
            Judge.read(path)
    good.write(path)
    deep = torch.full((100_000,), ord("["), dtype=torch.uint8)
    write_tensors(path, {**read_tensors(path), "about": deep})
    with pytest.raises(ValueError, match="nested too deeply"):
        Judge.read(path)


# With a model


@pytest.fixture
def judged(make_model: Callable[..., Path]) -> Path:
    """The folder of a small model that was published with a judge."""
    folder = make_model() / "generator" / "model"
    Pipeline(replace(read_model(folder), judge=trained())).save_pretrained(folder)
    return folder


def test_it_goes_with_copies_of_the_model(judged: Path, tmp_path: Path) -> None:
    pipeline = Pipeline.from_pretrained(judged)
    pipeline.save_pretrained(tmp_path / "copy")
    assert (tmp_path / "copy" / JUDGE).read_bytes() == (judged / JUDGE).read_bytes()
    assert pipeline.judge is not None
    assert pipeline.judge.predict([sound("hum", 3)]) == ["hum"]


def test_a_changed_lost_or_added_judge_is_refused(judged: Path, model: Path) -> None:
    good = (judged / JUDGE).read_bytes()
    changed = bytearray(good)
    changed[len(good) // 2] ^= 1  # a bit of a weight: still a judge by itself
    (judged / JUDGE).write_bytes(changed)
    Judge.read(judged / JUDGE)
    with pytest.raises(ValueError, match=f"{JUDGE} is .* expected"):
        Pipeline.from_pretrained(judged)
    (judged / JUDGE).unlink()
    with pytest.raises(ValueError, match=f"{JUDGE} is missing"):
        Pipeline.from_pretrained(judged)
    (judged / JUDGE).write_bytes(good)
    assert Pipeline.from_pretrained(judged).judge is not None
    plain = model / "generator" / "model" / JUDGE
    plain.write_bytes(good)
    try:
        with pytest.raises(ValueError, match=f"{JUDGE} is .* expected no such file"):
            Pipeline.from_pretrained(model)
    finally:
        plain.unlink()


def test_one_of_another_rate_is_refused(judged: Path) -> None:
    judge = replace(trained(), sample_rate=8000)
    Pipeline(replace(read_model(judged), judge=judge)).save_pretrained(judged)
    with pytest.raises(ValueError, match="for sounds at 8000 Hz; this model makes 16000 Hz"):
        Pipeline.from_pretrained(judged)


@pytest.mark.parametrize(
    ("prompt", "label"),
    [
        ("rain on a roof", "rain"),
        ("A Dog, far away", "dog"),
        ("waves of the sea", "sea_waves"),
        ("waves", "sea_waves"),
        ("Bolivia", None),
        ("", None),
        ("brain", None),
    ],
)
def test_prompts_name_labels_only_where_they_are_alike(prompt: str, label: str | None) -> None:
    names = ["rain", "dog", "sea_waves"]
    texts: Any = FakeTextEncoder()([prompt, *map(label_words, names)])
    assert named_label(prompt, names, texts.pooled[0], texts.pooled[1:]) == label


# What it hears


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
    assert right(Judge.fit(*sides[False], 22_050), *sides[True]) >= 0.85
