"""The words that a model has met, and what is said of prompts that have none of them."""

from pathlib import Path

import pytest
import torch
from fake_text import FakeTextEncoder

from audiogen.conditioning.text import TEXT_DIM, MiniLMConfig, TextEncoder
from audiogen.conditioning.vocabulary import Vocabulary, stem, told_words
from audiogen.storage import write_tensors

SOUNDS = (
    ("rain", ["heavy rain on a tin roof", "a downpour"]),
    ("rain", []),
    ("dog", ["A dog barks, twice; the dog is near."]),
    ("", ["Звон колокола"]),
    ("", []),
)


@pytest.fixture
def words() -> Vocabulary:
    return Vocabulary.of(SOUNDS, FakeTextEncoder())  # type: ignore[arg-type]


def test_each_sound_counts_once_for_a_word(words: Vocabulary) -> None:
    assert list(words.labels.items()) == [("rain", 2), ("dog", 1)]
    assert next(iter(words.words.items())) == ("rain", 2)
    assert {word: words.words[word] for word in ("dog", "tin", "downpour")} == {
        "dog": 1,
        "tin": 1,
        "downpour": 1,
    }
    assert not {"a", "the", "on", "is", "near"} & set(words.words)
    assert words.suggested[:2] == ["rain", "dog"]
    assert len(set(words.suggested)) == len(words.suggested) == len(words.vectors)


@pytest.mark.parametrize(
    "prompt",
    ["rain", "raining", "Rainy day", "dogs", "a BARKING cat", "", "  ", "the sound of", "колокол"],
)
def test_a_word_is_known_in_its_forms(words: Vocabulary, prompt: str) -> None:
    assert words.knows(prompt) == (prompt != "колокол")  # endings of English alone are known


@pytest.mark.parametrize("prompt", ["whale", "brain", "xqzzy", "12 bar blues", "a train"])
def test_a_part_of_another_word_is_no_word(words: Vocabulary, prompt: str) -> None:
    assert not words.knows(prompt)


@pytest.mark.parametrize(
    ("forms", "expected"),
    [
        (("drum", "drums", "drumming", "drummer"), "drum"),
        (("bell", "bells"), "bell"),
        (("city", "cities"), "cit"),
        (("bubble", "bubbles", "bubbling", "bubbly"), "bubbl"),
        (("gas",), "gas"),
        (("sea",), "sea"),
    ],
)
def test_forms_of_a_word_have_one_stem(forms: tuple[str, ...], expected: str) -> None:
    assert {stem(form) for form in forms} == {expected}


def test_words_are_letters_of_any_script() -> None:
    assert told_words("Дождь, l'eau 44.1kHz & o'clock!") == ["дождь", "l'eau", "khz", "o'clock"]


def test_what_is_written_is_read_again(words: Vocabulary, tmp_path: Path) -> None:
    words.write(tmp_path / "words.safetensors")
    again = Vocabulary.read(tmp_path / "words.safetensors")
    assert (again.labels, again.words) == (words.labels, words.words)
    assert list(again.suggested) == list(words.suggested)
    torch.testing.assert_close(again.vectors, words.vectors, atol=1e-3, rtol=0)


@pytest.mark.parametrize("fault", ["vectors", "about", "shape"])
def test_a_damaged_list_is_named(words: Vocabulary, tmp_path: Path, fault: str) -> None:
    file = tmp_path / "words.safetensors"
    told = b'{"labels": {}, "words": {}, "suggested": ["a"]}'
    about = torch.tensor(list(told), dtype=torch.uint8)
    tensors = {"about": about, "vectors": torch.zeros(1, TEXT_DIM)}
    if fault == "shape":
        tensors["vectors"] = torch.zeros(2, TEXT_DIM)
    elif fault == "about":
        tensors["about"] = about[:-1]
    else:
        del tensors["vectors"]
    write_tensors(file, tensors)
    with pytest.raises(ValueError, match=r"words.safetensors: not a list of words") as caught:
        Vocabulary.read(file)
    assert len(str(caught.value).splitlines()) <= 4


def test_what_was_said_of_two_sets_is_joined(words: Vocabulary) -> None:
    other = Vocabulary.of([("rain", []), ("wind", ["a storm"])], FakeTextEncoder())  # type: ignore[arg-type]
    both = words.joined(other)
    assert both.labels == {"rain": 3, "dog": 1, "wind": 1}
    assert (both.words["rain"], both.words["storm"]) == (3, 1)
    assert set(both.suggested) == {*words.suggested, *other.suggested}
    assert both.vectors.shape == (len(both.suggested), TEXT_DIM)
    assert both.knows("stormy")
    assert both.nearest(FakeTextEncoder()(["storm"]).pooled[0])[0] == "storm"


def test_no_sounds_are_no_words() -> None:
    nothing = Vocabulary.of([], FakeTextEncoder())  # type: ignore[arg-type]
    assert not nothing.knows("rain")
    assert nothing.nearest(torch.ones(TEXT_DIM)) == []


def test_the_nearest_words_are_near_in_meaning() -> None:
    try:
        encoder = TextEncoder(MiniLMConfig())
    except FileNotFoundError as error:
        pytest.skip(str(error))
    known = Vocabulary.of([(label, []) for label in ("rain", "dog", "bell", "engine")], encoder)
    for prompt, expected in (("a puppy", "dog"), ("a downpour", "rain"), ("a lorry", "engine")):
        assert not known.knows(prompt)
        assert known.nearest(encoder([prompt]).pooled[0])[0] == expected
