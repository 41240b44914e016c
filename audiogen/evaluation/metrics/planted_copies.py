"""Copies of training clips as a model might make them: what the copy check has to find."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.audio.dsp import resample
from audiogen.data.loading.clips import SPEED_RANGE, SPEED_STEPS
from audiogen.evaluation.material import Sounds

_MOST_SHIFT_SECONDS, _LEAST_CHANGE = 2.0, 0.02


def planted_copies(training: Sounds, sample_rate: int, count: int) -> dict[str, Sounds]:
    """Return copies of training clips by what was done to them; each time the same.

    Args:
        training: The clips, of one length.
        sample_rate: Hz, of all of them.
        count: Clips that are copied, at most. The other one of two is half the list further on.
    """
    rng = np.random.default_rng(0)
    total = len(training.wavs)
    chosen = range(0, total, -(-total // count))
    wavs: dict[str, list[Tensor]] = {
        kind: [] for kind in ("shifted", "faster or slower", "two mixed", "two spliced")
    }
    for index in chosen:
        wav, other = training.wavs[index], training.wavs[(index + total // 2) % total]
        shift = round(rng.uniform(0.1, _MOST_SHIFT_SECONDS) * sample_rate)
        change = rng.choice([-1, 1]) * rng.uniform(_LEAST_CHANGE, SPEED_RANGE)
        mixed = 0.5 * (wav + other * (_level(wav) / _level(other)))
        middle = wav.shape[1] // 2
        wavs["shifted"].append(torch.roll(wav, shift, dims=1))
        wavs["faster or slower"].append(_at_speed(wav, 1 + change))
        wavs["two mixed"].append(mixed / max(1.0, float(mixed.abs().max())))
        wavs["two spliced"].append(torch.cat([wav[:, :middle], other[:, middle:]], dim=1))
    labels, names = ([of[index] for index in chosen] for of in (training.labels, training.names))
    return {kind: Sounds(wavs=made, labels=labels, names=names) for kind, made in wavs.items()}


def _at_speed(wav: Tensor, speed: float) -> Tensor:
    """A sound so many times as fast, cut or filled with silence to the same length."""
    played = resample(wav, round(speed * SPEED_STEPS), SPEED_STEPS)[:, : wav.shape[1]]
    return F.pad(played, (0, wav.shape[1] - played.shape[1]))


def _level(wav: Tensor) -> float:
    """Root mean square; of silence a little."""
    return max(float(wav.square().mean().sqrt()), 1e-4)
