"""What decoding shows: warnings on both sides of their limits, the same for any block size."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiogen.audio.measure.inspection import measure_audio

RATE = 16_000
FRAMES = RATE
Array = np.ndarray


def stereo(seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((FRAMES, 2)) * 0.1


def against(correlation: float) -> Array:
    """Return stereo whose channels have a correlation."""
    wav = stereo()
    other = correlation * wav[:, 0] + np.sqrt(1 - correlation**2) * wav[:, 1]
    return np.stack([wav[:, 0], other], axis=1)


def peaks(count: int, level: float = 1.0) -> Array:
    """Return stereo that stays at a level for three samples, `count` times."""
    wav = stereo().clip(-0.9, 0.9)
    for start in range(100, 100 + 10 * count, 10):
        wav[start : start + 3] = level
    return wav


def quiet(share: float) -> Array:
    wav = stereo()
    wav[: round(share * FRAMES)] *= 1e-3
    return wav


def second_channel(level: float) -> Array:
    return stereo() * [1, level]


def nearly_mono(difference: float) -> Array:
    wav = stereo()[:, :1]
    noise = np.random.default_rng(1).uniform(-difference, difference, (FRAMES, 1))
    return np.concatenate([wav, wav + noise], axis=1)


CASES: dict[str, tuple[Callable[[float], Array], float, float]] = {
    # warning: a sound of one number, a number that is warned of, and one that is not
    "inverted_polarity": (against, -0.95, -0.8),
    "clipped": (peaks, 40, 2),
    "mostly_silent": (quiet, 0.85, 0.75),
    "dead_channel": (second_channel, 1e-4, 1e-2),
    "mono_as_stereo": (nearly_mono, 5e-5, 1e-2),
    "dc_offset": (lambda mean: stereo() + mean, -0.03, 0.01),
    "very_short": (lambda seconds: stereo()[: round(seconds * RATE)], 0.19, 0.21),
}


@pytest.mark.parametrize("warning", CASES)
def test_a_warning_has_two_sides(warning: str, tmp_path: Path) -> None:
    make, bad, good = CASES[warning]
    for number, expected in ((bad, (warning,)), (good, ())):
        soundfile.write(tmp_path / "x.wav", make(number), RATE, subtype="FLOAT")
        assert measure_audio(tmp_path / "x.wav").warnings == expected, number


def test_flat_tops_below_full_scale_are_not_called_clipped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", peaks(40, level=0.95), RATE)
    assert measure_audio(tmp_path / "x.wav").warnings == ()


@pytest.mark.parametrize("make", [stereo, lambda: against(-0.95), lambda: peaks(60)])
def test_blocks_make_no_difference(
    make: Callable[[], Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "x.wav", np.tile(make(), (3, 1)), RATE)
    whole = measure_audio(tmp_path / "x.wav")
    # Windows of silence are 320 samples long; a block is a multiple of them.
    monkeypatch.setattr("audiogen.audio.io.decoding.BLOCK_FRAMES", 3200)
    parts = measure_audio(tmp_path / "x.wav")
    assert (parts.warnings, parts.num_frames) == (whole.warnings, whole.num_frames)
    assert parts.swing == whole.swing
    assert len(parts.fingerprint) == len(whole.fingerprint) > 100
    differing = np.bitwise_count(parts.fingerprint ^ whole.fingerprint).sum()
    assert differing <= 0.001 * 32 * len(whole.fingerprint)  # energies that are equal but for noise


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
def test_the_checksum_of_flac_is_that_of_its_samples(subtype: str, tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    soundfile.write(path, stereo(), RATE, subtype=subtype)
    assert any(path.read_bytes()[26:42])  # there is one
    assert measure_audio(path).num_frames == FRAMES
