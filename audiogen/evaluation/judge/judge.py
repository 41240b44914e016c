"""A recogniser that is kept beside a model: how much a take sounds like what its prompt names.

It is the linear half of `SoundClassifier`, which `audiogen evaluate` trains on the run's own
recordings. It knows the labels of those, and nothing else: a prompt that is like none of them
cannot be judged, and gets no score.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from audiogen.evaluation.judge.classifier import SoundClassifier, clip_features
from audiogen.storage import parse_json, read_tensors, replacing, sha256_file, write_tensors

JUDGE_FILE = "judge.safetensors"
LEAST_LIKENESS = 0.65
"""Cosine of the sentence embeddings of a prompt and a label, from which the one names the other
though it does not hold its words. With MiniLM, "waves on a beach" is at 0.79 from "sea waves" and
"an old clock" at 0.73 from "clock tick", but "wind" and "storm" are at 0.57 from "rain" too."""
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Logistic regression on standardised features of a sound.

    Attributes:
        sample_rate: Hz, of the sounds that it hears.
        labels: that it knows, L of them.
        mean: (dim,) of the features.
        scale: (dim,) of the features.
        weights: (L, dim); one row where there are two labels, for the second.
        bias: (L,), or (1,).
        digest: names its file; empty for one that was never written.
    """

    sample_rate: int
    labels: tuple[str, ...]
    mean: FloatArray
    scale: FloatArray
    weights: FloatArray
    bias: FloatArray
    digest: str = ""

    @classmethod
    def of(cls, classifier: SoundClassifier) -> Judge:
        """The linear half of a trained classifier."""
        scaler, linear = classifier.linear
        arrays = (scaler.mean_, scaler.scale_, linear.coef_, linear.intercept_)
        mean, scale, weights, bias = (np.asarray(one, dtype=np.float32) for one in arrays)
        return cls(
            sample_rate=classifier.sample_rate,
            labels=tuple(classifier.labels),
            mean=mean,
            scale=scale,
            weights=weights,
            bias=bias,
        )

    def probabilities(self, wav: torch.Tensor) -> dict[str, float]:
        """How probable each label is, for a sound (C, T)."""
        features = (clip_features(wav, self.sample_rate) - self.mean) / self.scale
        logits = torch.from_numpy(self.weights.astype(np.float64) @ features + self.bias)
        if len(self.labels) == 2:  # scikit-learn keeps one row for two classes
            logits = torch.cat([torch.zeros(1, dtype=logits.dtype), logits])
        shares = F.softmax(logits, dim=0).tolist()
        return dict(zip(self.labels, shares, strict=True))

    def write(self, path: Path) -> None:
        """Write it as safetensors, whole or not at all."""
        told = json.dumps({"labels": self.labels, "sample_rate": self.sample_rate}).encode()
        about = torch.tensor(list(told), dtype=torch.uint8)
        arrays = {name: torch.from_numpy(getattr(self, name)) for name in _ARRAYS}
        with replacing(path) as temporary:
            write_tensors(temporary, {**arrays, "about": about})

    @classmethod
    def read(cls, path: Path) -> Judge:
        """Read what `write` wrote; ValueError names the file where it is not that."""
        tensors = read_tensors(path)
        try:
            about = parse_json(bytes(tensors["about"].tolist()), "labels")
            labels = tuple(str(one) for one in about["labels"])
            arrays = {name: tensors[name].numpy() for name in _ARRAYS}
            rows = 1 if len(labels) == 2 else len(labels)
            dim = len(arrays["mean"])
            shapes = {"mean": (dim,), "scale": (dim,), "weights": (rows, dim), "bias": (rows,)}
            if len(labels) < 2 or any(arrays[one].shape != shapes[one] for one in _ARRAYS):
                raise ValueError("shapes and labels do not fit")
            if not all(np.isfinite(one).all() for one in arrays.values()):
                raise ValueError("not finite")
            rate = int(about["sample_rate"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: not a recogniser as audiogen writes it ({error})\n"
                "  delete it; `audiogen evaluate` makes it again"
            ) from None
        return cls(sample_rate=rate, labels=labels, digest=sha256_file(path)[:16], **arrays)


_ARRAYS = ("mean", "scale", "weights", "bias")


def label_words(label: str) -> str:
    """A label as one writes it: `sea_waves` is "sea waves"."""
    return re.sub(r"[\W_]+", " ", label.lower()).strip()


def named_label(
    prompt: str, names: Sequence[str], embedded: torch.Tensor, labels: torch.Tensor
) -> str | None:
    """The label that a prompt names: one whose words it holds, or one of nearly its meaning.

    Args:
        prompt: the text.
        names: L labels.
        embedded: (E,) sentence embedding of the prompt.
        labels: (L, E) of the words of the labels.

    Returns:
        Of several the likest; None for a prompt that is like none of them.
    """
    likeness = F.normalize(labels.double(), dim=1) @ F.normalize(embedded.double(), dim=0)
    words = set(label_words(prompt).split())
    fits = {
        name: like
        for name, like in zip(names, likeness.tolist(), strict=True)
        if like >= LEAST_LIKENESS or set(label_words(name).split()) <= words
    }
    return max(fits, key=fits.__getitem__, default=None)
