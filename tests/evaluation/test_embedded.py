"""FAD and KAD of sets of sounds: equal numbers, references in order, none from too few."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from audiogen.evaluation import embedded
from audiogen.evaluation.embedded import embedded_scores
from audiogen.evaluation.material import Sounds
from audiogen.evaluation.metrics.embedding import RATE, find_embedding

CPU = torch.device("cpu")
LEVELS = {"held_out": 0.0, "training": 0.0, "copies": 0.5, "takes": 1.0, "noise": 4.0}


def sounds_of(numbers: dict[str, int]) -> dict[str, Sounds]:
    rng = np.random.default_rng(0)
    found = {}
    for kind, count in numbers.items():
        wavs = LEVELS[kind] + rng.standard_normal((count, 1, 6))
        found[kind] = Sounds(
            wavs=list(torch.from_numpy(wavs)), labels=["rain"] * count, names=["a"] * count
        )
    return found


def test_sets_of_one_size_are_compared_and_lie_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def embed(wavs: Sequence[Tensor], sample_rate: int) -> np.ndarray:
        assert sample_rate == RATE
        sizes.append(len({wav.data_ptr() for wav in wavs}))
        return torch.cat(list(wavs)).numpy()

    monkeypatch.setattr(embedded, "SoundEffectEmbedding", lambda _: embed)
    numbers = {"held_out": 60, "training": 260, "copies": 260, "takes": 80, "noise": 60}
    scores = embedded_scores(sounds_of(numbers), RATE, CPU)
    assert sizes == [60] * 5
    assert scores.keys() == {"fad", "kad"}
    for distance in scores.values():
        found = distance.all
        assert found.copies is not None
        assert found.real < found.copies < found.takes < found.noise
        assert distance.per_label == {}


def test_too_few_sounds_have_neither() -> None:
    numbers = {"held_out": 1, "training": 9, "copies": 9, "takes": 4, "noise": 1}
    assert embedded_scores(sounds_of(numbers), RATE, CPU) == {}


@pytest.mark.slow
def test_noise_is_farther_from_tones_than_other_tones_are() -> None:
    try:
        find_embedding()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    time = torch.arange(3 * RATE) / RATE

    def tones(first: int) -> list[Tensor]:
        pitches = torch.arange(first, first + 1200, 200)
        return [0.3 * torch.sin(2 * torch.pi * pitch * time)[None] for pitch in pitches]

    sets = {"held_out": tones(300), "training": tones(320), "copies": tones(330)}
    sets |= {"takes": tones(340), "noise": [0.3 * torch.randn_like(wav) for wav in tones(300)]}
    named = {
        kind: Sounds(wavs=wavs, labels=[""] * 6, names=[""] * 6) for kind, wavs in sets.items()
    }
    for distance in embedded_scores(named, RATE, CPU).values():
        assert distance.all.noise > 3 * abs(distance.all.takes)
