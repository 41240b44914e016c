"""The copy check finds what was copied, whatever was done to it, and lets others be."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from crackle import RATE, crackle
from torch import Tensor

from audiogen.audio.dsp import resample, to_channels
from audiogen.audio.io.files import read_audio
from audiogen.audio.spectral import istft, mel_filterbank, stft
from audiogen.data.loading.clips import versions_of
from audiogen.evaluation.material import Sounds
from audiogen.evaluation.metrics.distances import noise_like
from audiogen.evaluation.metrics.near_copies import CopyCheck
from audiogen.evaluation.metrics.planted_copies import planted_copies

REAL_RATE = 22_050


def named(wavs: list[Tensor]) -> Sounds:
    names = [str(number) for number in range(len(wavs))]
    return Sounds(wavs=wavs, labels=names, names=names)


def near(check: CopyCheck, *wavs: Tensor) -> list[tuple[str, str]]:
    """(sound, clip) of what is called a copy."""
    found = check.nearest(named(list(wavs)))
    return [(one.take, one.clip) for one in found if one.distance < check.threshold]


@cache
def training() -> Sounds:
    return named([crackle(seed) for seed in range(16)])


@cache
def check() -> CopyCheck:
    return CopyCheck(training(), RATE)


COPIES = {
    "exact": lambda wav: wav,
    "shifted": lambda wav: torch.roll(wav, 12_345, dims=1),
    "late": lambda wav: torch.cat([torch.zeros(1, RATE), wav], dim=1)[:, : wav.shape[1]],
    "excerpt": lambda wav: wav[:, RATE : 3 * RATE],
    "quiet": lambda wav: 0.02 * wav,
    "noisy": lambda wav: wav + noise_like([wav], seed=1)[0] * 0.1,
    "duller": lambda wav: torch.nn.functional.avg_pool1d(wav, 3, stride=1, padding=1),
    "mixed": lambda wav: wav + crackle(101),
    "stereo": lambda wav: wav.expand(2, -1),
}


@pytest.mark.parametrize("name", list(COPIES))
def test_copies_are_caught(name: str) -> None:
    assert near(check(), COPIES[name](training().wavs[5])) == [("0", "5")]


@pytest.mark.parametrize("version", range(9))
def test_copies_of_a_version_that_was_learnt_are_caught(version: int) -> None:
    take = list(versions_of(training().wavs[5], 9))[version]
    assert near(check(), take, crackle(100)) == [("0", "5")]


def test_planted_copies_are_found_and_other_recordings_are_not() -> None:
    planted = planted_copies(training(), RATE, 8)
    assert list(planted) == ["shifted", "faster or slower", "two mixed", "two spliced"]
    for kind, sounds in planted.items():
        assert len(sounds.wavs) == 8
        assert {wav.shape for wav in sounds.wavs} == {training().wavs[0].shape}
        assert check().share(sounds) == 1, kind
    others = [*(crackle(seed) for seed in range(100, 120)), torch.zeros(1, RATE)]
    assert check().share(named(others)) == 0


def test_a_recording_that_is_twice_in_the_set_hides_no_copy() -> None:
    clips = training().wavs
    doubled = [*clips, torch.roll(clips[3], 4000, dims=1), 0.5 * clips[4]]
    twice = CopyCheck(named(doubled), RATE)
    assert len(near(twice, 0.7 * clips[3], clips[4])) == 2
    assert twice.threshold >= 0.5  # the doubles in the real set do not pull it down


def test_slices_of_one_recording_count_as_one() -> None:
    long = crackle(7, seconds=6.0)
    slices = [long[:, : 4 * RATE], long[:, RATE : 5 * RATE], long[:, 2 * RATE :]]
    clips = [*slices, *(crackle(seed) for seed in range(20, 28))]
    sources = {str(number): str(max(number, 2)) for number in range(11)}
    found = CopyCheck(named(clips), RATE, sources=sources).nearest(named([slices[1]]))
    assert found[0].distance < 0.2


@pytest.mark.parametrize("count", [1, 2])
def test_a_copy_of_one_of_a_few_clips_is_caught(count: int) -> None:
    few = CopyCheck(named([crackle(seed) for seed in range(count)]), RATE)
    assert near(few, crackle(0), crackle(50)) == [("0", "0")]


def test_silence_is_a_copy_of_nothing() -> None:
    silent = CopyCheck(named([torch.zeros(1, RATE), crackle(1), crackle(2)]), RATE)
    assert near(silent, torch.zeros(1, RATE)) == []


def test_copy_check_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(ValueError, match="no training clips"):
        CopyCheck(named([]), RATE)


def vocoded(wav: Tensor, seed: int) -> Tensor:
    """What is left of a sound (1, T) in a noise vocoder of 40 bands: no phase, grain or partial."""
    length = wav.shape[1]
    wav = torch.nn.functional.pad(wav, (0, -length % 256))
    noise = torch.randn(wav.shape, generator=torch.Generator().manual_seed(seed))
    bands = mel_filterbank(40, 1024, REAL_RATE)
    shares = bands / bands.sum(dim=1, keepdim=True)
    envelope = (shares @ stft(wav, 1024, 256).abs().square()).sqrt()
    carrier = stft(noise, 1024, 256)
    return istft(carrier * (bands.T @ envelope), 1024, 256)[:, :length]


def read(paths: list[Path]) -> Sounds:
    wavs = []
    for path in paths:
        wav, rate = read_audio(path)
        wav = to_channels(resample(wav, rate, REAL_RATE), 1)[:, : 5 * REAL_RATE]
        wavs.append(torch.nn.functional.pad(wav, (0, 5 * REAL_RATE - wav.shape[1])))
    names = [path.stem for path in paths]
    return Sounds(wavs=wavs, labels=[path.parent.name for path in paths], names=names)


@pytest.mark.slow
def test_copies_of_real_clips_are_found_though_their_noise_is_drawn_anew(esc10: Path) -> None:
    paths = sorted(esc10.rglob("*.ogg"))  # named FOLD-RECORDING-PART
    learnt = read([path for path in paths if not path.name.startswith("4")])
    real = read([path for path in paths if path.name.startswith("4")])
    sources = {name: name.split("-")[1] for name in learnt.names}
    real_check = CopyCheck(learnt, REAL_RATE, sources=sources)

    def decoded(sounds: Sounds) -> Sounds:
        wavs = [vocoded(wav, seed) for seed, wav in enumerate(sounds.wavs)]
        return replace(sounds, wavs=wavs)

    for kind, sounds in planted_copies(learnt, REAL_RATE, 40).items():
        assert real_check.share(sounds) >= 0.9, kind
        assert real_check.share(decoded(sounds)) >= 0.9, kind
    assert real_check.share(real) <= 0.02
    assert real_check.share(decoded(real)) <= 0.02
