"""The embedding: its spectrogram and its points are those of the original, and nothing is run.

The expected numbers were made once with the authors' network and Essentia 2.1b6.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from audiogen.evaluation.metrics import embedding
from audiogen.evaluation.metrics.embedding import (
    RATE,
    SoundEffectEmbedding,
    find_embedding,
    log_mel_frames,
)

BANDS = {  # of every twelfth band, before they are scaled
    0: [7.210, 4.679, 3.075, 1.952, 1.043, 0.388, 0.099, 0.026],
    50: [0.000, 0.022, 8.412, 0.002, 0.000, 0.000, 0.000, 0.000],
    216: [2.631, 2.640, 2.688, 2.857, 3.627, 2.842, 1.619, 0.926],
}
POINTS = [  # every 64th axis of both windows
    [2.0266, 1.8608, 0.9656, 2.1468, 1.8697, 1.6332, 1.3198, 1.7807],
    [1.1102, 2.5906, 0.3466, 2.3750, 1.8405, 2.0896, 0.9555, 0.8008],
]


def chirp() -> Tensor:
    """Return 5 s from 100 Hz to 4.1 kHz (1, T)."""
    time = np.arange(5 * RATE) / RATE
    wav = 0.5 * np.sin(2 * np.pi * (100 * time + 400 * time**2))
    return torch.from_numpy(wav[None].astype(np.float32))


def installed() -> SoundEffectEmbedding:
    try:
        return SoundEffectEmbedding()
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_the_spectrogram_is_essentias() -> None:
    frames = log_mel_frames(chirp(), RATE) * 9.457798957824707
    assert frames.shape == (217, 96)
    for frame, bands in BANDS.items():
        assert frames[frame, ::12].tolist() == pytest.approx(bands, abs=2e-3)


def test_channels_are_averaged_and_another_rate_is_the_same_sound() -> None:
    wav = chirp()
    assert torch.equal(log_mel_frames(torch.cat([wav, wav]), RATE), log_mel_frames(wav, RATE))
    half = torch.from_numpy(np.ascontiguousarray(wav.numpy()[:, ::2]))  # nothing above 11 kHz
    other = log_mel_frames(half, RATE // 2)
    assert other.shape == (217, 96)
    assert (other - log_mel_frames(wav, RATE))[2:-4].abs().mean() < 5e-3


@pytest.mark.parametrize(
    ("seconds", "rate", "windows"), [(0.1, RATE, 1), (5, RATE, 2), (5, 22_050, 2), (10, RATE, 4)]
)
def test_a_clip_has_a_point_for_each_whole_window(seconds: float, rate: int, windows: int) -> None:
    samples = int(seconds * rate)
    cut = embedding._windows(log_mel_frames(torch.zeros(1, samples), rate))
    assert cut.shape == (windows, 100, 96)


def test_the_points_are_those_of_the_original_network() -> None:
    embed = installed()
    points = embed([chirp(), torch.zeros(2, 1000)], RATE)
    assert points.shape == (3, 512)
    np.testing.assert_allclose(points[:2, ::64], POINTS, atol=2e-3)
    np.testing.assert_allclose(points[:2].mean(axis=1), [1.2956, 1.2599], atol=1e-3)
    assert np.isfinite(points[2]).all()


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "PACKAGE", "aisfx_of_nobody")
    with pytest.raises(FileNotFoundError, match=embedding.INSTALL.replace(".", r"\.")):
        find_embedding()


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weights = tmp_path / "other_aisfx" / embedding.WEIGHTS
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    (tmp_path / "other_aisfx" / "__init__.py").write_text("raise RuntimeError('was run')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(embedding, "PACKAGE", "other_aisfx")
    with pytest.raises(ValueError, match="not the weights"):
        find_embedding()
