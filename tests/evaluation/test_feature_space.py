from pathlib import Path

import numpy as np
import pytest

from audiogen.audio.io.files import read_audio
from audiogen.audio.measure.texture_features import texture_features
from audiogen.evaluation.metrics.feature_space import FeatureSpace


def test_the_space_whitens_its_training_set() -> None:
    rng = np.random.default_rng(0)
    training = (rng.standard_normal((200, 4)) @ rng.standard_normal((4, 30))).astype(np.float32)
    space = FeatureSpace.fit(training, num_axes=12)
    points = space.project(training)
    assert points.shape == (200, 4)  # no more axes than the features have
    assert np.allclose(np.cov(points.T), np.eye(4), atol=0.02)
    assert 1.5 < space.bandwidth < 4


def test_the_space_limits_wild_values() -> None:
    rng = np.random.default_rng(0)
    training = rng.standard_normal((50, 10)).astype(np.float32)
    space = FeatureSpace.fit(training, num_axes=3)
    wild = training[:1].copy()
    wild[0, 0] = 1e6
    assert np.abs(space.project(wild)).max() < 20


def test_a_space_needs_items() -> None:
    with pytest.raises(ValueError, match="n_items >= 3"):
        FeatureSpace.fit(np.zeros((2, 5), np.float32))
    with pytest.raises(ValueError, match="same features"):
        FeatureSpace.fit(np.zeros((5, 5), np.float32))


def test_real_rains_are_nearer_to_each_other_than_to_dogs(esc10: Path) -> None:
    def folder(name: str) -> np.ndarray:
        wavs, rates = zip(*map(read_audio, sorted((esc10 / name).glob("*.ogg"))[:6]), strict=True)
        return texture_features(wavs, rates[0])

    rain, dogs = folder("002 - Rain"), folder("001 - Dog bark")
    points = FeatureSpace.fit(np.concatenate([rain, dogs]), num_axes=4)
    rain, dogs = points.project(rain), points.project(dogs)
    between = np.linalg.norm(rain.mean(axis=0) - dogs.mean(axis=0))
    assert between > 1.5 * np.linalg.norm(rain[:3].mean(axis=0) - rain[3:].mean(axis=0))
