"""The words that a model has met: those of the labels and captions of its training sounds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from audiogen.conditioning.text import TEXT_DIM, TextEncoder
from audiogen.storage import json_of_tensor, json_tensor, read_tensors, write_tensors

NO_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a about above after all an and are around as at be behind being below between but by down"
        " each for from in into is it its like more near of off on one or other out over several"
        " slightly some something sound sounds that the their then there this through to two under"
        " up very while with without",
    )
)
"""Words that tell nothing of a sound."""
ENDINGS = ("ings", "ing", "ers", "er", "ies", "es", "ed", "s", "y", "e")
"""Of words that are told alike: "rain", "rains", "raining" and "rainy"."""
LEAST_STEM = 3
MOST_SUGGESTED = 200
"""Words, the most frequent ones, that may be suggested beside the labels."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What was said of the training sounds, and what may be suggested where a prompt says nothing.

    Attributes:
        labels: sounds by label, the most frequent first.
        words: sounds by word, likewise; the words of labels are among them.
        suggested: labels and frequent words.
        vectors: of those, from the text encoder, of unit length (N, 384).
    """

    labels: Mapping[str, int]
    words: Mapping[str, int]
    suggested: Sequence[str]
    vectors: Tensor

    @classmethod
    def of(cls, sounds: Iterable[tuple[str, Sequence[str]]], text: TextEncoder) -> Vocabulary:
        """Count what is said of sounds: of each its label, which may be empty, and its captions."""
        labels, words = Counter[str](), Counter[str]()
        for label, captions in sounds:
            labels.update([label] if label else [])
            words.update({word for said in (label, *captions) for word in told_words(said)})
        frequent = list(_ordered(words))[:MOST_SUGGESTED]
        suggested = list(dict.fromkeys([*_ordered(labels), *frequent]))
        return cls(
            labels=_ordered(labels),
            words=_ordered(words),
            suggested=suggested,
            vectors=_unit(text(suggested, together=True).pooled)
            if suggested
            else torch.zeros(0, TEXT_DIM),
        )

    def joined(self, other: Vocabulary) -> Vocabulary:
        """Return this with what was said of other sounds; the numbers of both are added."""
        return self._with(
            other,
            Counter(self.labels) + Counter(other.labels),
            Counter(self.words) + Counter(other.words),
        )

    def united(self, other: Vocabulary) -> Vocabulary:
        """Return this with what was said of other sounds, many of which are the same."""
        return self._with(
            other,
            Counter(self.labels) | Counter(other.labels),
            Counter(self.words) | Counter(other.words),
        )

    def _with(self, other: Vocabulary, labels: Counter[str], words: Counter[str]) -> Vocabulary:
        known = dict(zip(other.suggested, other.vectors, strict=True))
        known |= dict(zip(self.suggested, self.vectors, strict=True))
        return Vocabulary(
            labels=_ordered(labels),
            words=_ordered(words),
            suggested=list(known),
            vectors=torch.stack(list(known.values())) if known else self.vectors,
        )

    def knows(self, prompt: str) -> bool:
        """Whether a word of the prompt, in some form, was said of a training sound.

        A prompt that asks for nothing is one that every model knows.
        """
        words = told_words(prompt)
        return not words or any(stem(word) in self._stems for word in words)

    @cached_property
    def _stems(self) -> frozenset[str]:
        """Of all words."""
        return frozenset(map(stem, self.words))

    def nearest(self, pooled: Tensor, *, count: int = 4) -> list[str]:
        """Return the labels and frequent words whose meaning is nearest to that of a prompt.

        Args:
            pooled: the prompt's vector (384,) from the text encoder.
            count: of those that are returned, at most.
        """
        order = (self.vectors @ _unit(pooled)).argsort(descending=True, stable=True)
        return [self.suggested[index] for index in order[:count].tolist()]

    def write(self, path: Path) -> None:
        """Write it as safetensors."""
        told = {"labels": self.labels, "words": self.words, "suggested": list(self.suggested)}
        write_tensors(path, {"about": json_tensor(told), "vectors": self.vectors.half()})

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """Read what `write` wrote; ValueError names the file where it is not that."""
        tensors = read_tensors(path)
        try:
            told = json_of_tensor(tensors["about"], "words")
            counts = {
                name: {str(word): int(count) for word, count in told[name].items()}
                for name in ("labels", "words")
            }
            suggested = [str(word) for word in told["suggested"]]
            vectors = tensors["vectors"].float()
            if vectors.shape != (len(suggested), TEXT_DIM) or not vectors.isfinite().all():
                raise ValueError("words and vectors do not fit")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{path}: not a list of words as audiogen writes it ({error})\n"
                "  put a good copy of the model there, or train it again"
            ) from None
        return cls(**counts, suggested=suggested, vectors=vectors)


def told_words(text: str) -> list[str]:
    """Return the words of a text that tell something of a sound, in small letters."""
    words = re.findall(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?", text.lower())
    return [word for word in words if len(word) > 1 and word not in NO_WORDS]


def stem(word: str) -> str:
    """Return a word without its ending, at least three letters of it.

    >>> {stem(word) for word in ("rain", "rains", "raining", "rainy")}
    {'rain'}
    """
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= LEAST_STEM:
            rest = word.removesuffix(ending)
            doubled = ending in {"ing", "ings", "ed", "er", "ers"} and rest[-1] == rest[-2]
            return rest[:-1] if doubled and len(rest) > LEAST_STEM else rest
    return word


def _unit(vectors: Tensor) -> Tensor:
    """Vectors (..., E) at length one."""
    return torch.nn.functional.normalize(vectors.float(), dim=-1)


def _ordered(counts: Counter[str]) -> dict[str, int]:
    """The most frequent first, those that are alike by the alphabet."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
