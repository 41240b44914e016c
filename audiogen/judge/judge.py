"""A recogniser that is published with a model: how much a take sounds like what its prompt names.

It is trained on the recordings that the model learns from. It knows their labels, and nothing
else: a prompt that is like none of them cannot be judged, and gets no score.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.audio.measure.texture_features import Array
from audiogen.judge.hearing import clip_features, coloured_version
from audiogen.storage import (
    json_of_tensor,
    json_tensor,
    read_tensors,
    replacing,
    sha256_file,
    write_tensors,
)

INVERSE_PENALTY = 0.03
"""C of the logistic regression; by cross-validation over the source recordings of ESC-10, on clean
and on coloured clips."""
MAX_ITERATIONS = 5000
"""Of the fit, which ends after some hundreds."""
LEAST_LIKENESS = 0.65
"""Cosine of the sentence embeddings of a prompt and a label, from which the one names the other
though it does not hold its words. With MiniLM, "waves on a beach" is at 0.79 from "sea waves" and
"an old clock" at 0.73 from "clock tick", but "wind" and "storm" are at 0.57 from "rain" too."""
_ARRAYS = ("mean", "scale", "weights", "bias")


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Logistic regression on standardised features of a sound.

    Attributes:
        sample_rate: Hz, of the sounds that it hears.
        labels: the L labels that it knows, at least two, in alphabetical order.
        mean: (dim,) of the features.
        scale: (dim,) of the features.
        weights: (L, dim).
        bias: (L,).
        digest: sixteen hexadecimal digits that name its file; empty for one never written.
    """

    sample_rate: int
    labels: tuple[str, ...]
    mean: Array
    scale: Array
    weights: Array
    bias: Array
    digest: str = ""

    @classmethod
    def fit(
        cls,
        wavs: Sequence[Tensor],
        labels: Sequence[str],
        sample_rate: int,
        *,
        num_versions: int = 2,
        seed: int = 0,
        features: Array | None = None,
    ) -> Self:
        """Train a judge on real clips.

        Args:
            wavs: clips (C, T), all at `sample_rate`.
            labels: one for each clip.
            sample_rate: Hz.
            num_versions: coloured versions of each clip to train on, beside the clip itself.
            seed: of the colouring.
            features: of the clips (n, dim), where they are known.

        Raises:
            ValueError: there is not one label for each clip, or all are alike.
        """
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 (slow to import)
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

        rng = np.random.default_rng(seed)
        clean = features_of(wavs, sample_rate) if features is None else features
        coloured = [
            features_of([coloured_version(wav, sample_rate, rng) for wav in wavs], sample_rate)
            for _ in range(num_versions)
        ]
        features = np.concatenate([clean, *coloured])
        scaler = StandardScaler().fit(features)
        linear = LogisticRegression(C=INVERSE_PENALTY, max_iter=MAX_ITERATIONS)
        linear.fit(scaler.transform(features), np.tile(np.asarray(labels), 1 + num_versions))
        weights, bias = linear.coef_, linear.intercept_
        if len(weights) == 1:  # of two classes, scikit-learn keeps the log odds of the second
            weights, bias = np.concatenate([-weights, weights]) / 2, np.array([-bias, bias]) / 2
        mean, scale, weights, bias = (
            np.ascontiguousarray(one, dtype=np.float32)
            for one in (scaler.mean_, scaler.scale_, weights, bias.ravel())
        )
        return cls(
            sample_rate=sample_rate,
            labels=tuple(str(label) for label in linear.classes_),
            mean=mean,
            scale=scale,
            weights=weights,
            bias=bias,
        )

    def probabilities(self, wav: Tensor) -> dict[str, float]:
        """Return how probable each label is for a sound (C, T) at `sample_rate`."""
        logits = self._logits(clip_features(wav, self.sample_rate))
        shares = F.softmax(torch.from_numpy(logits), dim=0)
        return dict(zip(self.labels, shares.tolist(), strict=True))

    def predict(self, wavs: Sequence[Tensor]) -> list[str]:
        """Return the most probable label of each sound (C, T)."""
        return self.named(features_of(wavs, self.sample_rate)) if wavs else []

    def named(self, features: Array) -> list[str]:
        """Return the most probable label of each sound, of features (n, dim)."""
        return [self.labels[int(self._logits(one).argmax())] for one in features]

    def _logits(self, features: Array) -> npt.NDArray[np.float64]:
        scaled = (features - self.mean) / self.scale
        logits: npt.NDArray[np.float64] = self.weights.astype(np.float64) @ scaled + self.bias
        return logits

    def write(self, path: Path) -> None:
        """Write it as safetensors, whole or not at all."""
        about = json_tensor({"labels": self.labels, "sample_rate": self.sample_rate})
        arrays = {name: torch.from_numpy(getattr(self, name)) for name in _ARRAYS}
        with replacing(path) as temporary:
            write_tensors(temporary, {**arrays, "about": about})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote; ValueError names the file where it is not that."""
        tensors = read_tensors(path)
        try:
            about = json_of_tensor(tensors["about"], "labels")
            labels = tuple(str(one) for one in about["labels"])
            arrays = {name: tensors[name].numpy() for name in _ARRAYS}
            count, dim = len(labels), len(arrays["mean"])
            shapes = {"mean": (dim,), "scale": (dim,), "weights": (count, dim), "bias": (count,)}
            if count < 2 or any(arrays[name].shape != shapes[name] for name in _ARRAYS):
                raise ValueError("shapes and labels do not fit")
            if not all(np.isfinite(one).all() for one in arrays.values()):
                raise ValueError("not finite")
            rate = int(about["sample_rate"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: not a recogniser as audiogen writes it ({error})\n"
                "  put a good copy of the model there, or train it again"
            ) from None
        return cls(sample_rate=rate, labels=labels, digest=sha256_file(path)[:16], **arrays)


def features_of(wavs: Sequence[Tensor], sample_rate: int) -> Array:
    """What a judge hears of at least one clip (C, T): features (n, dim)."""
    return np.stack([clip_features(wav, sample_rate) for wav in wavs])


def train_judge(
    wavs: Sequence[Tensor],
    labels: Sequence[str],
    sample_rate: int,
    features: Array | None = None,
) -> Judge | None:
    """Fit a judge on the clips that have a label; None where there are not two labels.

    `features` (n, dim) are those of the clips, where they are known.
    """
    known = [index for index, label in enumerate(labels) if label]
    if len({labels[index] for index in known}) < 2:
        return None
    return Judge.fit(
        [wavs[index] for index in known],
        [labels[index] for index in known],
        sample_rate,
        features=None if features is None else features[known],
    )


def label_words(label: str) -> str:
    """A label as one writes it: `sea_waves` is "sea waves"."""
    return re.sub(r"[\W_]+", " ", label.lower()).strip()


def named_label(prompt: str, names: Sequence[str], embedded: Tensor, labels: Tensor) -> str | None:
    """The label that a prompt names: one whose words it holds, or one of nearly its meaning.

    Args:
        prompt: the text.
        names: L labels.
        embedded: (E,) sentence embedding of the prompt.
        labels: (L, E) of the words of the labels.

    Returns:
        Of several that are alike the likest; None for a prompt that is like none of them, and for
        one that holds the words of two, such as "rain and a dog", which is no sound of one label.
    """
    words = set(label_words(prompt).split())
    of_label = {name: set(label_words(name).split()) for name in names}
    said = [name for name in names if of_label[name] <= words]
    if said:
        widest = max(said, key=lambda name: len(of_label[name]))
        return widest if all(of_label[name] <= of_label[widest] for name in said) else None
    likeness = F.normalize(labels.double(), dim=1) @ F.normalize(embedded.double(), dim=0)
    fits = {
        name: like
        for name, like in zip(names, likeness.tolist(), strict=True)
        if like >= LEAST_LIKENESS
    }
    return max(fits, key=fits.__getitem__, default=None)
