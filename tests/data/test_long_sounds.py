"""Long recordings are read in parts, and give what they would give whole."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from audiogen.audio.dsp import loudness_lufs
from audiogen.audio.io import decoding
from audiogen.audio.io.decoding import AudioReadError
from audiogen.audio.loudness import LoudnessMeter
from audiogen.codecs.vae import VAECodec, VAEConfig
from audiogen.data.intake.scan import scan_folder
from audiogen.data.loading import clips, latents, long_sounds
from audiogen.data.loading.clips import ClipDataset, Position, read_clip, read_clips
from audiogen.data.loading.latents import encode_rows, read_latents, write_latents
from audiogen.data.manifest import ManifestRow
from audiogen.types import LatentSpec

RATE, SECONDS = 16_000, 9.3


def spec(channels: int = 1) -> LatentSpec:
    return LatentSpec(
        kind="continuous",
        channels=4,
        vocab_size=None,
        hop_length=256,
        sample_rate=RATE,
        audio_channels=channels,
    )


def sound(rate: int, channels: int, *, cancels: bool = False) -> Tensor:
    """Noise under a slow swell, so that no two parts have one level."""
    num_samples = round(SECONDS * rate)
    swell = 0.1 + torch.sin(torch.arange(num_samples) / rate).abs()
    noise = torch.randn(channels, num_samples, generator=torch.Generator().manual_seed(1))
    if cancels:
        noise = torch.stack([noise[0], -noise[0] + 0.01 * noise[1]])
    return 0.1 * swell * noise


def scanned(folder: Path, wav: Tensor, rate: int, suffix: str = ".wav") -> ManifestRow:
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / f"sound{suffix}", wav.T.numpy(), rate)
    [row] = scan_folder(folder)
    return row


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has more than a few samples counts as long, and comes in small blocks."""
    monkeypatch.setattr(clips, "LONG_SAMPLES", 10_000)
    monkeypatch.setattr(decoding, "BLOCK_FRAMES", 10_007)


@pytest.mark.parametrize(
    ("rate", "channels", "suffix", "cancels", "wanted"),
    [
        (16_000, 1, ".wav", False, 1),
        (44_100, 2, ".wav", False, 1),
        (44_100, 2, ".wav", True, 1),
        (44_100, 2, ".flac", False, 2),
        (48_000, 1, ".flac", False, 2),
        (8_000, 1, ".wav", False, 1),
        (22_051, 1, ".wav", False, 1),
        (44_100, 2, ".ogg", False, 1),
        (44_100, 1, ".mp3", False, 1),
    ],
)
def test_a_part_is_that_of_the_whole(
    rate: int,
    channels: int,
    suffix: str,
    cancels: bool,
    wanted: int,
    tmp_path: Path,
    in_parts: None,
) -> None:
    row = scanned(tmp_path, sound(rate, channels, cancels=cancels), rate, suffix)
    whole = read_clip(tmp_path, row, spec(wanted))
    long = clips.long_sound(tmp_path, row, spec(wanted), window_seconds=0.3)
    assert long is not None
    assert long.num_samples == whole.shape[1]
    torch.testing.assert_close(torch.cat(list(long.blocks()), dim=1), whole, atol=1e-4, rtol=0)
    last = long.num_samples
    for start, stop in ((0, 5000), (7, 8), (40_001, 46_001), (last - 300, last), (last - 1, last)):
        part = long.part(start, stop)
        torch.testing.assert_close(part, whole[:, start:stop], atol=1e-4, rtol=0)


def test_excerpts_and_beginnings_are_those_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = scanned(tmp_path, sound(44_100, 2), 44_100)

    def excerpts() -> list[Tensor]:
        dataset = ClipDataset(tmp_path, [row], spec(), crop_frames=20, seed=3)
        cut = [dataset[Position(epoch, index)] for epoch in range(3) for index in range(4)]
        return [*cut, *read_clips(tmp_path, [row], spec(), 0.7)]

    whole = excerpts()
    monkeypatch.setattr(clips, "LONG_SAMPLES", 10_000)

    def never(*_: object, **__: object) -> Tensor:
        raise AssertionError("the whole file was read")

    monkeypatch.setattr(clips, "read_clip", never)
    torch.testing.assert_close(excerpts(), whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("versions", [1, 3])
def test_latents_and_measures_are_those_of_the_whole(
    versions: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    codec = VAECodec(VAEConfig(sample_rate=RATE)).eval()
    row = scanned(tmp_path / "data", sound(44_100, 2), 44_100)
    window = codec.spec.num_frames(1.5)

    def encoded() -> list[latents.LatentItem]:
        return list(
            encode_rows(
                tmp_path / "data",
                [row],
                codec,
                min_frames=window,
                versions=versions,
                controls=["brightness", "density"],
            )
        )

    whole = encoded()
    monkeypatch.setattr(clips, "LONG_SAMPLES", 10_000)
    monkeypatch.setattr(decoding, "BLOCK_FRAMES", 10_007)
    parts = encoded()
    assert len(parts) == len(whole) == versions
    for one, other in zip(parts, whole, strict=True):
        assert one.num_frames == other.num_frames
        torch.testing.assert_close(one.latents, other.latents, atol=1e-3, rtol=1e-3)
        assert [window.start for window in one.windows] == [w.start for w in other.windows]
        for found, wanted in zip(one.windows, other.windows, strict=True):
            for name, value in wanted.measures.items():
                assert found.measures[name] == pytest.approx(value, rel=1e-3, nan_ok=True)


def test_large_latents_are_written_in_shards_of_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latents, "SHARD_BYTES", 1000)
    rows = [
        ManifestRow(path=f"{number}.wav", seconds=1, sample_rate=RATE, channels=1)
        for number in range(5)
    ]
    items = [
        latents.LatentItem(latents=torch.full((4, 40), float(number)), num_frames=40, row=row)
        for number, row in enumerate(rows)
    ]
    write_latents(tmp_path / "latents", items)
    assert len(list((tmp_path / "latents").glob("shard-*"))) == 3
    again = read_latents(tmp_path / "latents", rows)
    assert [float(item.latents[0, 0]) for item in again] == [0, 1, 2, 3, 4]


def test_the_checksum_is_looked_at_once(
    tmp_path: Path, in_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = scanned(tmp_path, sound(RATE, 1), RATE)
    checked: list[str] = []
    original = long_sounds.opened

    def counted(sound: Path, *, sha256: str = "") -> object:
        checked.append(sha256)
        return original(sound, sha256=sha256)

    monkeypatch.setattr(long_sounds, "opened", counted)
    dataset = ClipDataset(tmp_path, [row], spec(), crop_frames=20, seed=3)
    for index in range(5):
        dataset[Position(0, index)]
    assert checked == [row.sha256]


@pytest.mark.parametrize("change", ["other", "shorter", "gone"])
def test_a_long_file_that_has_changed_is_not_learnt(
    change: str, tmp_path: Path, in_parts: None
) -> None:
    row = scanned(tmp_path, sound(RATE, 1), RATE)
    path = tmp_path / "sound.wav"
    if change == "other":
        soundfile.write(path, np.zeros(RATE * 9), RATE)
        with pytest.raises(AudioReadError, match="not the file that"):
            clips.long_sound(tmp_path, row, spec(), window_seconds=0.3)
        return
    long = clips.long_sound(tmp_path, row, spec(), window_seconds=0.3)
    assert long is not None
    if change == "shorter":
        soundfile.write(path, np.zeros(RATE), RATE)
    else:
        path.unlink()
    with pytest.raises(AudioReadError, match=r"not the file that|no such file"):
        long.part(RATE * 5, RATE * 6)


def test_a_long_member_of_an_archive_is_read_in_parts(tmp_path: Path, in_parts: None) -> None:
    soundfile.write(tmp_path / "sound.wav", sound(44_100, 1)[0].numpy(), 44_100)
    (tmp_path / "data").mkdir()
    with tarfile.open(tmp_path / "data" / "set.tar", "w") as archive:
        archive.add(tmp_path / "sound.wav", "sound.wav")
    [row] = scan_folder(tmp_path / "data")
    whole = read_clip(tmp_path / "data", row, spec())
    long = clips.long_sound(tmp_path / "data", row, spec(), window_seconds=0.3)
    assert long is not None
    with long.sound.open("rb") as file:
        assert not isinstance(file, io.BytesIO)  # which would be the whole of it
    torch.testing.assert_close(long.part(9000, 9900), whole[:, 9000:9900], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("seconds", "rate", "channels", "is_long"),
    [
        (250, 44_100, 2, False),
        (3 * 3600, 44_100, 2, True),
        (3 * 3600, 8_000, 1, True),  # much more at the codec's rate
        (200, 192_000, 8, True),  # minutes that take gigabytes
    ],
)
def test_what_is_long_is_told_by_the_memory_it_would_take(
    seconds: float, rate: int, channels: int, is_long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "measure_long", lambda *_, **__: "in parts")
    row = ManifestRow(path="x.wav", seconds=seconds, sample_rate=rate, channels=channels)
    found = clips.long_sound(Path(), row, spec(), window_seconds=5)
    assert found == ("in parts" if is_long else None)


@pytest.mark.parametrize("level", [1.0, 1e-2, 1e-6])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (22_051, 5)])
def test_loudness_in_blocks_is_that_of_the_whole(level: float, rate: int, channels: int) -> None:
    wav = level * sound(rate, channels)
    wav[:, 3 * rate : 5 * rate] *= 1e-3  # what the gates leave out
    meter = LoudnessMeter(rate, channels)
    for block in wav.split(7001, dim=1):
        meter.add(block)
    assert meter.lufs() == pytest.approx(loudness_lufs(wav, rate), abs=1e-6)
    assert meter.peak == float(wav.abs().max())


def test_silence_in_blocks_has_no_loudness() -> None:
    meter = LoudnessMeter(RATE, 1)
    meter.add(torch.zeros(1, RATE))
    assert meter.lufs() == -float("inf")
