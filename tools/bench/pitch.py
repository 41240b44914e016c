"""How well a pitch is found: with a path through windows, and in each window alone.

    python tools/bench/pitch.py [--folder FOLDER] [--out FILE]

Made voices glide, tremble, pause and begin again, in noise that comes and goes: a frame is wrong
that is more than a semitone off. Recordings (FOLDER has a folder for each label) have no truth: of
the frames that are periodic, as the one before, it is told how many leap by more than five
semitones from it, which voices seldom do.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from timing import machine, write_figures
from torch import Tensor

from audiogen.audio import pitch
from audiogen.audio.dsp import to_channels
from audiogen.audio.io.decoding import AUDIO_SUFFIXES
from audiogen.audio.io.files import read_audio
from audiogen.audio.measure.character import VOICED

RATE, HOP = 44_100, 2048
WAYS = {"a path": pitch.LEAP_COST, "each window alone": 0.0}
SIGNAL_TO_NOISE_DB = (10, 0, -6)
NUM_VOICES, SECONDS = 24, 5

Uniform = Callable[[], float]


def course(uniform: Uniform, num_samples: int) -> tuple[Tensor, Tensor]:
    """Pitch in octaves above 1 Hz and loudness, each (T,), of a voice of several glides."""
    octaves, loudness = torch.zeros(num_samples), torch.zeros(num_samples)
    middle, start = 7 + 2.5 * uniform(), 0
    while start < num_samples:
        length = min(int(RATE * (0.15 + 0.9 * uniform())), num_samples - start)
        along = torch.linspace(0, 1, length)
        begin, change = middle + 1.2 * (uniform() - 0.5), 0.8 * (uniform() - 0.5)
        trembling = 0.03 * (2 * math.pi * (4 + 4 * uniform()) * along * length / RATE).sin()
        octaves[start : start + length] = begin + change * along + trembling
        loudness[start : start + length] = (20 * along).minimum(8 * (1 - along)).clamp_max(1)
        start += length + int(RATE * 0.25 * uniform())
    return octaves, loudness


def made_voice(seed: int, signal_to_noise_db: float) -> tuple[Tensor, Tensor, Tensor]:
    """A sound (1, T), the pitch (L,) of its frames, and which (L,) are loud throughout."""
    source = torch.Generator().manual_seed(seed)

    def uniform() -> float:
        return float(torch.rand((), generator=source))

    num_samples = RATE * SECONDS // HOP * HOP
    octaves, loudness = course(uniform, num_samples)
    hertz = octaves.exp2()
    phase = (hertz.double() / RATE).cumsum(dim=0)
    tilt, formant = 0.5 + 1.5 * uniform(), math.log2(300) + 3 * uniform()
    wav = torch.zeros(num_samples)
    for number in range(1, 40):
        weight = number**-tilt * (1 + 6 * (-10 * ((number * hertz).log2() - formant) ** 2).exp())
        turn = 2 * math.pi * ((number * phase % 1).float() + uniform())
        wav += loudness * weight * (number * hertz < 18_000) * turn.sin()
    wav = wav / wav.square().mean().sqrt()
    times = torch.arange(num_samples) / RATE
    swell_db = 6 * (2 * math.pi * (0.5 + uniform()) * times).sin() - signal_to_noise_db
    noise = torch.randn(num_samples, generator=source) * 10 ** (swell_db / 20)
    frames = loudness.reshape(-1, HOP).amin(dim=1) > 0.2
    return 0.1 * (wav + noise)[None], octaves.reshape(-1, HOP).mean(dim=1), frames


def wrong(signal_to_noise_db: float) -> float:
    """Share of frames of made voices whose pitch is more than a semitone off."""
    found = []
    for seed in range(NUM_VOICES):
        wav, truth, is_loud = made_voice(seed, signal_to_noise_db)
        octaves, _ = pitch.track_pitch(wav, RATE, HOP)
        found.append((octaves[0] - truth).abs()[is_loud] > 1 / 12)
    return float(torch.cat(found).float().mean())


def leaps(folder: Path) -> float | None:
    """Share of periodic frames of a folder's recordings that leap; None where none is periodic."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in AUDIO_SUFFIXES:
            continue
        wav, rate = read_audio(path)
        hop = round(HOP * rate / RATE)
        mono = to_channels(wav, 1)
        octaves, height = pitch.track_pitch(mono[:, : mono.shape[1] // hop * hop], rate, hop)
        is_voiced = (height[0] > VOICED).unfold(0, 2, 1).all(dim=1)
        found.append(octaves[0].diff().abs()[is_voiced] > 5 / 12)
    steps = torch.cat(found) if found else torch.zeros(0)
    return float(steps.float().mean()) if len(steps) else None


def main() -> None:
    """Print both ways beside each other, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {}

    def row(name: str, measure: Callable[[], float | None]) -> None:
        rows[name] = {}
        for way, cost in WAYS.items():
            with mock.patch.object(pitch, "LEAP_COST", cost):
                rows[name][way] = measure()
        told = ["none" if share is None else f"{share:.3f}" for share in rows[name].values()]
        print("{:<32} {:>18} {:>18}".format(name, *told), flush=True)

    print("{:<32} {:>18} {:>18}".format("share of frames", *WAYS))
    for level in SIGNAL_TO_NOISE_DB:
        row(f"wrong, noise at {-level} dB", partial(wrong, level))
    for folder in sorted(given.folder.iterdir()) if given.folder else []:
        if folder.is_dir():
            row(f"leap, {folder.name}", partial(leaps, folder))
    if given.out is not None:
        write_figures(given.out, {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
