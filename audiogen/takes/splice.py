"""Splices: new sound put beside given sound, whose own samples stay as they are."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.audio.dsp import below_full_scale

FADE_SECONDS = 0.05
"""About a latent frame: faster fades between two grains of one sound are heard as a change."""
MATCH_SECONDS = 0.005
"""What has to be alike where a sound is continued by an earlier part of itself."""
SEARCH_SECONDS = 0.1


def crossfade(old: Tensor, new: Tensor) -> Tensor:
    """Fade from `old` to `new`, both (C, N), at an even level.

    The weights are those of equal power, divided by what two sounds of this correlation add up
    to: noise fades at equal power, and equal sounds stay as they are. Where that would go beyond
    full scale, the weights add up to one instead.
    """
    place = (torch.arange(old.shape[1], dtype=old.dtype) + 0.5) / old.shape[1] * (math.pi / 2)
    size = (old.norm() * new.norm()).clamp_min(1e-12)
    alike = ((old * new).sum() / size).clamp(0, 1)
    falling, rising = place.cos(), place.sin()
    mixed: Tensor = (falling * old + rising * new) / (1 + 2 * alike * falling * rising).sqrt()
    if float(mixed.abs().max()) <= 1:
        return mixed
    convex: Tensor = falling.square() * old + rising.square() * new
    return convex.clamp(-1, 1)  # of rounding


def continued(wav: Tensor, num_samples: int, sample_rate: int) -> Tensor:
    """Continue a sound (C, T) by the earlier part of it that fits its end best: (C, num_samples).

    Waveform substitution, as of lost packets (ITU-T G.711, appendix I, 1999): the place is the one
    before which the last 5 ms correlate most with the sound's own last 5 ms. A sound too short to
    have such a place is continued by its own reflection, and by silence where that ends.
    """
    match = max(2, round(MATCH_SECONDS * sample_rate))
    length = wav.shape[1]
    first = max(match, length - num_samples - round(SEARCH_SECONDS * sample_rate))
    if first > length - num_samples:
        mirrored = wav.flip(1)[:, :num_samples]
        return F.pad(mirrored, (0, num_samples - mirrored.shape[1]))
    templates = wav[:, first - match : length - num_samples].unfold(1, match, 1)  # (C, P, match)
    products = (templates * wav[:, None, -match:]).sum(dim=(0, 2))
    best = int((products / templates.square().sum(dim=(0, 2)).sqrt().clamp_min(1e-9)).argmax())
    start = first + best
    return wav[:, start : start + num_samples]


def replace_region(wav: Tensor, new: Tensor, start: int, sample_rate: int) -> Tensor:
    """Put `new` (C, N) into `wav` (C, T) at `start`; fades lie inside of the new part.

    At an end of the sound there is no fade. Samples outside stay as they are.
    """
    stop = start + new.shape[1]
    fade = min(round(FADE_SECONDS * sample_rate), new.shape[1] // 2)
    new = below_full_scale(new)
    if start > 0:
        begin = crossfade(wav[:, start : start + fade], new[:, :fade])
        new = torch.cat([begin, new[:, fade:]], dim=1)
    if stop < wav.shape[1]:
        end = crossfade(wav[:, stop - fade : stop].flip(1), new[:, -fade:].flip(1)).flip(1)
        new = torch.cat([new[:, :-fade], end], dim=1)
    return torch.cat([wav[:, :start], new, wav[:, stop:]], dim=1)


def append(wav: Tensor, new: Tensor, sample_rate: int) -> Tensor:
    """Put `new` (C, N) behind `wav` (C, T), whose continuation fades into it."""
    fade = min(round(FADE_SECONDS * sample_rate), new.shape[1])
    new = below_full_scale(new)
    begin = crossfade(continued(wav, fade, sample_rate), new[:, :fade])
    return torch.cat([wav, begin, new[:, fade:]], dim=1)
