"""What is said of a sound while training: its label, its own caption, or how it sounds.

Words for how it sounds are measured: a sound is "bright" where it is among the brightest third of
its label. Which of all texts is said is drawn anew each time, so that a model learns what each of
the words in them means.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from audiogen.audio.measure.traits import TRAITS, Trait
from audiogen.data.intake.naming import says_something
from audiogen.data.loading.latents import LatentItem
from audiogen.data.manifest import ManifestRow

WORDS: Mapping[Trait, tuple[str, str]] = {
    "brightness": ("dull", "bright"),
    "density": ("sparse", "dense"),
    "weight": ("soft", "heavy"),
}
"""Of the lowest and of the highest third."""
TEMPLATES = ("{}", "{}", "the sound of {}")
MOST_WORDS = 2
LABEL_ALONE, WITH_WORDS = 5, 2
"""How often a label is said alone, and with words, where its caption is said once. The label is
what most prompts are; said seldom, it is learnt late."""
LEAST_SOUNDS = 6
"""Of a label, for its own thirds; with fewer, those of all sounds count."""


def texts_of_label(label: str) -> list[str]:
    """Ways to name a sound by its label, which may be empty."""
    return [template.format(label) for template in TEMPLATES] if label else []


def own_texts(row: ManifestRow) -> list[str]:
    """The captions of a sound, and titles in them; names that say nothing are left out."""
    texts = []
    for caption in (row.prompt, *row.wordings):
        title = caption.removeprefix(f"{row.label}:").strip()
        if caption != row.label and says_something(title):
            texts += [caption] if title == caption else [caption, _readable(title)]
    return texts


def _readable(title: str) -> str:
    """A title as one writes it: "chainsaw_cutting01" and "DogBarking" are two words each."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"[\s_.-]+", " ", title))
    words = (re.sub(r"\d+$", "", word) for word in apart.lower().split())
    return " ".join(word for word in words if word)


def word_texts(label: str, words: Sequence[str]) -> list[str]:
    """A label with each of the words, and with each two of them."""
    return [
        " ".join([*some, label])
        for count in range(1, MOST_WORDS + 1)
        for some in itertools.combinations(words, count)
    ]


def possible_texts(rows: Iterable[ManifestRow], *, words: bool) -> set[str]:
    """All that may be said of sounds, whatever is measured of them; nothing is said of some."""
    texts, labels = {""}, set()
    for row in rows:
        texts.update(texts_of_label(row.label), own_texts(row))
        labels.add(row.label)
    if words:
        for label, said in itertools.product(labels - {""}, itertools.product(*WORDS.values())):
            texts.update(word_texts(label, said))
    return texts


class Captions:
    """Draws what is said of encoded sounds; which words fit, it takes from all of them."""

    def __init__(self, items: Sequence[LatentItem], *, own: int = 1) -> None:
        """Take all sounds, and how often their own captions are said; see `LABEL_ALONE`."""
        self._own_share = own
        # Versions of a sound say the same: it is measured, and they are not.
        self._windows = {item.row.path: item.windows for item in items if _has_traits(item)}
        labels = {item.row.path: item.row.label for item in items}
        counts = Counter(labels.values())
        self._own = {label for label, count in counts.items() if count >= LEAST_SOUNDS}
        found: dict[tuple[str, Trait], list[float]] = {}
        for path, windows in self._windows.items():
            for window, group in itertools.product(windows, {self._group(labels[path]), ""}):
                for trait, value in window.traits.items():
                    found.setdefault((group, trait), []).append(value)
        self._thirds = {
            key: tuple(np.quantile(values, (1 / 3, 2 / 3)).tolist())
            for key, values in found.items()
        }

    def words(self, item: LatentItem, start: int) -> list[str]:
        """The words that fit what is heard from latent frame `start` on."""
        windows = self._windows.get(item.row.path, ())
        if not windows:
            return []
        traits = min(windows, key=lambda window: abs(window.start - start)).traits
        words = []
        for trait in TRAITS:
            low, high = self._thirds.get((self._group(item.row.label), trait), (0.0, 0.0))
            value = traits.get(trait)
            if value is not None and low < high and not low < value < high:
                words.append(WORDS[trait][value >= high])
        return words

    def draw(self, item: LatentItem, start: int, random: np.random.Generator) -> str:
        """Say something: the label alone most of the time, else its caption or words that fit."""
        names, own = texts_of_label(item.row.label), own_texts(item.row)
        words = word_texts(item.row.label, self.words(item, start)) if item.row.label else []
        said = (*[names] * LABEL_ALONE, *[own] * self._own_share, *[words] * WITH_WORDS)
        kinds = [texts for texts in said if texts]
        if not kinds:
            return ""
        texts = kinds[int(random.integers(len(kinds)))]
        return texts[int(random.integers(len(texts)))]

    def _group(self, label: str) -> str:
        """Whose thirds count for a label: its own, or with the empty one those of all."""
        return label if label in self._own else ""


def said_of(items: Sequence[LatentItem]) -> list[tuple[str, list[str]]]:
    """Return of each sound its label, its captions, and the words that fit what is heard of it."""
    captions, said = Captions(items), dict[str, tuple[str, list[str]]]()
    for item in items:  # versions of a sound are that sound
        _, texts = said.setdefault(item.row.path, (item.row.label, own_texts(item.row)))
        texts += {word for one in item.windows for word in captions.words(item, one.start)}
    return list(said.values())


def _has_traits(item: LatentItem) -> bool:
    return any(window.traits for window in item.windows)
