"""Recordings as training reads them: at one rate, level and number of channels."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiogen.audio.dsp import loudness_lufs, to_channels
from audiogen.audio.io.decoding import AudioReadError
from audiogen.audio.io.files import write_audio
from audiogen.audio.measure.measures import measure_some
from audiogen.audio.measure.texture_features import texture_features
from audiogen.data.intake.scan import scan_folder
from audiogen.data.loading.clips import read_clip
from audiogen.types import LatentSpec

RATE = 16_000


def spec(channels: int = 1) -> LatentSpec:
    return LatentSpec(
        kind="continuous",
        channels=4,
        vocab_size=None,
        hop_length=256,
        sample_rate=RATE,
        audio_channels=channels,
    )


def tone(level: float = 0.3) -> Tensor:
    return level * torch.sin(torch.arange(RATE * 2) / 7)[None]


def clip(folder: Path, wav: Tensor, channels: int = 1) -> Tensor:
    write_audio(folder / "sound.wav", wav, RATE)
    [row] = scan_folder(folder)
    return read_clip(folder, row, spec(channels))


def likeness(one: Tensor, other: Tensor) -> float:
    return abs(float(torch.corrcoef(torch.cat([one, other]))[0, 1]))


@pytest.mark.parametrize("other", [-1.0, -0.7, -1.2])
def test_channels_that_cancel_are_not_mixed_to_their_dither(tmp_path: Path, other: float) -> None:
    torch.manual_seed(0)
    wav = torch.cat([tone(), other * tone()]) + 1e-4 * torch.randn(2, RATE * 2)
    made = clip(tmp_path, wav)
    assert likeness(made, tone()) > 0.999
    assert loudness_lufs(made, RATE) == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize("middle", [1e-4, 1e-3, 1e-2, 3e-2])
def test_a_middle_far_below_the_sides_is_not_all_that_is_learnt(
    tmp_path: Path, middle: float
) -> None:
    """As of a take that was widened until nothing but hiss is left in the middle."""
    torch.manual_seed(0)
    hiss = middle * torch.randn(1, RATE * 2)
    made = clip(tmp_path, torch.cat([hiss + tone(), hiss - tone()]))
    assert likeness(made, tone()) > 0.98
    assert loudness_lufs(made, RATE) == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize("side", [0.5, 0.1])
def test_where_sides_do_not_cancel_the_middle_is_learnt(tmp_path: Path, side: float) -> None:
    torch.manual_seed(0)
    wide = side * torch.randn(1, RATE * 2) / 10
    made = clip(tmp_path, torch.cat([tone() + wide, tone() - wide]))
    assert likeness(made, tone()) > 0.999


@pytest.mark.parametrize("silent", [0, 1])
@pytest.mark.parametrize("noise", [0.0, 3e-5])
def test_a_silent_channel_takes_nothing_from_the_other(
    tmp_path: Path, silent: int, noise: float
) -> None:
    torch.manual_seed(0)
    wav = torch.cat([tone(), tone()])
    wav[silent] = noise * torch.randn(RATE * 2)
    made = clip(tmp_path, wav)
    assert likeness(made, tone()) > 0.999
    assert loudness_lufs(made, RATE) == pytest.approx(-23, abs=0.1)
    [row] = scan_folder(tmp_path)
    assert "dead_channel" in row.warnings or noise > 0


def test_channels_that_cancel_stay_as_they_are_in_stereo(tmp_path: Path) -> None:
    made = clip(tmp_path, torch.cat([tone(), -tone()]), channels=2)
    assert float((made[0] + made[1]).abs().max()) < 1e-4


def test_usual_stereo_is_mixed_by_its_mean() -> None:
    torch.manual_seed(0)
    wav = torch.randn(2, 1000)
    assert torch.equal(to_channels(wav, 1), wav.mean(dim=0, keepdim=True))
    assert torch.equal(to_channels(wav, 2), wav)


def test_measures_hear_what_is_in_channels_that_cancel() -> None:
    torch.manual_seed(0)
    noise = 1e-5 * torch.randn(2, RATE * 2)
    plain, against = tone() + noise[:1], torch.cat([tone(), -tone()]) + noise
    heard, wanted = (
        measure_some(wav, RATE, ["brightness_hz"])["brightness_hz"] for wav in (against, plain)
    )
    assert heard == pytest.approx(wanted, 0.01)
    features = texture_features([plain, against], RATE)
    assert abs(features[0] - features[1]).mean() < 0.1  # of dither alone it is above 1


@pytest.mark.parametrize("channels", [1, 2])
def test_dither_alone_stays_dither(tmp_path: Path, channels: int) -> None:
    torch.manual_seed(0)
    dither = 1e-4 * torch.randn(2, RATE * 2)
    wav = torch.cat([dither[:1], -dither[:1]]) + dither.flip(0) / 10
    made = clip(tmp_path, wav, channels)
    assert float(made.abs().max()) <= 101 * float(wav.abs().max())
    assert loudness_lufs(made, RATE) < -34


@pytest.mark.parametrize("level", [1e-3, 2e-4])
def test_what_is_nearly_silent_is_not_raised_to_full_level(tmp_path: Path, level: float) -> None:
    made = clip(tmp_path, tone(level))
    assert float(made.abs().max()) / level < 101
    assert likeness(made, tone()) > 0.98


def test_a_file_that_has_changed_since_intake_is_not_learnt(tmp_path: Path) -> None:
    file = tmp_path / "sound.wav"
    write_audio(file, tone(), RATE)
    [row] = scan_folder(tmp_path)
    read_clip(tmp_path, row, spec())
    write_audio(file, -tone(), RATE)
    with pytest.raises(AudioReadError, match="not the file that"):
        read_clip(tmp_path, row, spec())
    write_audio(file, tone(), RATE)
    read_clip(tmp_path, row, spec())


def test_an_archive_that_has_changed_since_intake_is_not_learnt(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()

    def pack(wav: Tensor) -> None:
        write_audio(tmp_path / "sound.wav", wav, RATE)
        with tarfile.open(folder / "set.tar", "w") as archive:
            archive.add(tmp_path / "sound.wav", "sound.wav")

    pack(tone())
    [row] = scan_folder(folder)
    read_clip(folder, row, spec())
    pack(-tone())
    with pytest.raises(AudioReadError, match="not the file that"):
        read_clip(folder, row, spec())
