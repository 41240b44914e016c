"""What is said of sounds while training: labels, captions, and words that were measured."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from audiogen.audio.measure.traits import TRAITS, Trait
from audiogen.data.loading.captions import (
    TEMPLATES,
    WORDS,
    Captions,
    own_texts,
    possible_texts,
    said_of,
    word_texts,
)
from audiogen.data.loading.clips import Position
from audiogen.data.loading.examples import LatentDataset
from audiogen.data.loading.latents import LatentItem
from audiogen.data.loading.measured import MeasuredWindow
from audiogen.data.manifest import ManifestRow

FRAMES = 20


def row(path: str, label: str = "rain", prompt: str = "") -> ManifestRow:
    return ManifestRow(
        path=path,
        seconds=1,
        sample_rate=16_000,
        channels=1,
        prompt=prompt or label,
        label=label,
        split="train",
    )


def item(
    path: str, traits: Sequence[dict[Trait, float]], label: str = "rain", prompt: str = ""
) -> LatentItem:
    """An encoded file with a window of half its length for each of the traits."""
    windows = [
        MeasuredWindow(start=number * FRAMES // 2, measures={}, traits=one)
        for number, one in enumerate(traits)
    ]
    return LatentItem(
        latents=torch.zeros(2, FRAMES * max(1, len(traits))),
        num_frames=FRAMES * max(1, len(traits)),
        row=row(path, label, prompt),
        windows=windows,
    )


def graded(label: str, count: int, offset: float = 0.0) -> list[LatentItem]:
    """Sounds of one label, each brighter than the one before."""
    return [
        item(f"{label}-{number}.wav", [{"brightness": number + offset}], label)
        for number in range(count)
    ]


def drawn(captions: Captions, given: LatentItem, count: int = 300) -> Counter[str]:
    return Counter(captions.draw(given, 0, np.random.default_rng(seed)) for seed in range(count))


def test_a_sound_is_bright_among_those_of_its_label() -> None:
    rain, bells = graded("rain", 9), graded("bell", 9, offset=100)
    captions = Captions([*rain, *bells])
    for sounds in (rain, bells):
        found = [captions.words(one, 0) for one in sounds]
        assert found == [["dull"]] * 3 + [[]] * 3 + [["bright"]] * 3


def test_few_sounds_of_a_label_are_compared_with_all() -> None:
    rain, bells = graded("rain", 9), graded("bell", 3, offset=100)
    captions = Captions([*rain, *bells])
    assert [captions.words(one, 0) for one in bells] == [["bright"]] * 3


def test_what_does_not_vary_has_no_words() -> None:
    sounds = [item(f"{number}.wav", [dict.fromkeys(TRAITS, 1.0)]) for number in range(9)]
    silent = item("silent.wav", [{}])
    captions = Captions([*sounds, silent])
    assert all(captions.words(one, 0) == [] for one in [*sounds, silent])


def test_words_are_those_of_the_window_that_is_heard() -> None:
    sounds = graded("rain", 9)
    long = item("long.wav", [{"brightness": -5.0}, {"brightness": 4.0}, {"brightness": 20.0}])
    captions = Captions([*sounds, long])
    starts = {0: ["dull"], 4: ["dull"], 6: [], 14: [], 16: ["bright"], 40: ["bright"]}
    assert {start: captions.words(long, start) for start in starts} == starts


def test_versions_of_a_sound_are_called_what_the_sound_is() -> None:
    sounds = graded("rain", 9)
    version = item("rain-8.wav", [])
    captions = Captions([*sounds, version])
    assert captions.words(version, 0) == ["bright"]


def test_every_kind_of_text_is_drawn_and_can_be_looked_up() -> None:
    traits: list[dict[Trait, float]] = [
        {trait: float(number * (-1) ** place) for place, trait in enumerate(TRAITS)}
        for number in range(9)
    ]
    sounds = [
        item(f"{number}.wav", [one], prompt=f"rain: on_roof{number}")
        for number, one in enumerate(traits)
    ]
    captions = Captions(sounds)
    possible = possible_texts([one.row for one in sounds], words=True)
    for number in (0, 4, 8):
        texts = drawn(captions, sounds[number], 1200)
        assert texts.keys() <= possible
        assert {"rain", "the sound of rain", f"rain: on_roof{number}", "on roof"} <= texts.keys()
        assert ("dull dense rain" in texts) == (number == 0)
        assert ("bright heavy rain" in texts) == (number == 8)
        assert texts["rain"] > texts["the sound of rain"]
        kinds = 6 if number == 4 else 8  # of the middle one, no word is true
        own = texts[f"rain: on_roof{number}"] + texts["on roof"]
        assert own == pytest.approx(1200 / kinds, rel=0.25)
        alone = texts["rain"] + texts["the sound of rain"]
        assert alone == pytest.approx(1200 * 5 / kinds, rel=0.1)


def test_all_that_is_measured_can_be_looked_up() -> None:
    possible = possible_texts([row("a.wav"), row("b.wav", "bell")], words=True)
    for label, words in itertools.product(("rain", "bell"), itertools.product(*WORDS.values())):
        assert set(word_texts(label, words)) <= possible
    count = len(set(TEMPLATES)) + 2 * len(WORDS) + 4 * len(WORDS) * (len(WORDS) - 1) // 2
    assert len(possible) == 2 * count + 1
    assert possible_texts([row("a.wav")], words=False) == {"", "rain", "the sound of rain"}


@pytest.mark.parametrize(
    ("label", "prompt", "expected"),
    [
        ("dog", "dog", []),
        ("dog", "dog: DogBarking_02", ["dog: DogBarking_02", "dog barking"]),
        ("dog", "dog: 5-12345-A-10", []),
        ("dog", "dog: IMG_2034", []),
        ("dog", "a dog barks, twice", ["a dog barks, twice"]),
        ("", "a dog barks, twice", ["a dog barks, twice"]),
        ("", "5-12345-A-10", []),
        ("дождь", "дождь: гроза 2", ["дождь: гроза 2", "гроза"]),
    ],
)
def test_titles_that_say_nothing_are_dropped(label: str, prompt: str, expected: list[str]) -> None:
    assert own_texts(row("a.wav", label, prompt)) == expected


def test_what_is_said_of_a_sound_is_its_captions_and_the_words_that_fit() -> None:
    sounds = [*graded("rain", 9), item("told.wav", [], "bell", "a small bell")]
    versions = [replace(one, windows=()) for one in sounds]  # which are not measured
    said = said_of([*sounds, *versions])
    assert len(said) == len(sounds)
    assert said[0] == ("rain", ["dull"])
    assert said[8] == ("rain", ["bright"])
    assert said[-1] == ("bell", ["a small bell"])
    assert [words for _, words in said[3:6]] == [[], [], []]


def test_each_wording_of_a_caption_is_said() -> None:
    said = ("rain on tin", "a shower", "rain: IMG_2034")
    known = row("a.wav", "rain", said[0])
    known = replace(known, wordings=said[1:])
    assert own_texts(known) == list(said[:2])
    encoded = replace(item("a.wav", []), row=known)
    assert set(said[:2]) <= drawn(Captions([encoded]), encoded).keys()
    assert set(said[:2]) <= possible_texts([known], words=True)


@pytest.mark.parametrize(("own", "share"), [(0, 0.0), (1, 1 / 6), (5, 0.5)])
def test_captions_are_said_as_often_as_is_asked(own: int, share: float) -> None:
    told = item("a.wav", [], prompt="rain on tin")
    said = drawn(Captions([told], own=own), told, count=3000)
    assert said["rain on tin"] / said.total() == pytest.approx(share, abs=0.05)


def test_of_a_sound_without_label_and_caption_nothing_is_said() -> None:
    nameless = item("0001.wav", [{"brightness": 1.0}], label="")
    captions = Captions([*graded("rain", 9), nameless])
    assert drawn(captions, nameless).keys() == {""}


def test_a_caption_is_a_pure_function_of_seed_and_place() -> None:
    items = [*graded("rain", 9), *graded("bell", 9)]
    first, again, other = (
        LatentDataset(items, window_frames=FRAMES, frame_rate=20, seed=seed) for seed in (3, 3, 4)
    )
    places = [Position(epoch, index) for epoch in range(5) for index in range(len(items))]
    said = [first[place].prompt for place in places]
    assert [again[place].prompt for place in reversed(places)] == said[::-1]
    assert [other[place].prompt for place in places] != said
    assert len({first[Position(epoch, 0)].prompt for epoch in range(60)}) == 3
