"""The number of a sound's samples: written beside it, and found again in lossless copies."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from audiogen.audio.io.decoding import opened
from audiogen.audio.io.files import samples_digest, write_audio

RATE = 16_000


def digest_of(path: Path) -> str:
    with opened(path) as audio:
        return samples_digest(audio.blocks(), audio.sample_rate)


@pytest.fixture
def wav() -> Tensor:
    """Two channels of every kind of sample: full scale, halves between steps, noise, silence."""
    steps = torch.arange(-1000, 1000) / (2 * 0x7FFFFF)
    noise = torch.rand(2, 300_000) * 2 - 1  # more than one block
    ends = torch.tensor([1.0, -1.0, 0.0, -0.0, 1e-9, 0.99999994, 0.5, -0.5])
    return torch.cat([noise, ends.expand(2, -1), steps.expand(2, -1)], dim=1)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_the_sidecar_names_what_the_file_holds(wav: Tensor, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    write_audio(path, wav, RATE, sidecar={"seed": 1})
    told = json.loads(path.with_suffix(".json").read_text())
    assert told == {"seed": 1, "samples_sha256": digest_of(path)}


def test_a_lossless_copy_keeps_it_and_any_other_does_not(wav: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_audio(path, wav, RATE)
    samples, _ = soundfile.read(path, dtype="float32")
    expected = digest_of(path)

    def copied(name: str, data: np.ndarray, rate: int = RATE, **how: str) -> str:  # type: ignore[type-arg]
        soundfile.write(tmp_path / name, data, rate, **how)
        return digest_of(tmp_path / name)

    assert copied("same.flac", samples, subtype="PCM_24") == expected
    assert copied("same.aiff", samples, subtype="PCM_24") == expected
    assert copied("float.wav", samples, subtype="FLOAT") == expected
    one_step = samples.copy()
    one_step[5, 0] += 1 / 0x800000
    changed = [
        copied("16.wav", samples, subtype="PCM_16"),
        copied("lossy.ogg", samples),
        copied("rate.wav", samples, rate=RATE + 1, subtype="PCM_24"),
        copied("short.wav", samples[:-1], subtype="PCM_24"),
        copied("swapped.wav", samples[:, ::-1], subtype="PCM_24"),
        copied("step.wav", one_step, subtype="PCM_24"),
    ]
    assert expected not in changed
    assert len(set(changed)) == len(changed)


def test_channels_are_not_taken_for_time() -> None:
    zeros = np.zeros((10, 2), dtype=np.float32)
    assert samples_digest([zeros], RATE) != samples_digest([zeros.reshape(20, 1)], RATE)
    assert samples_digest([zeros], RATE) == samples_digest([zeros[:4], zeros[4:]], RATE)
