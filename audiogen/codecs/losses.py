"""Spectral distances between waveforms, and the energy distance that lets a decoder be random.

Every term is a Euclidean norm of the difference of frame features, so it is a metric of negative
type and the generalised energy distance of Gritsenko et al. 2020 (arXiv 2008.01160, eq. 3) is a
proper score: noise is best reconstructed by other noise of the same law, not by its blurred mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from audiogen.audio.dsp import mid_side
from audiogen.audio.spectral import fft_length, mel_filterbank, stft
from audiogen.nn.chance import randint, shared_generator
from audiogen.nn.processes import mean_over_processes
from audiogen.schema import Config

MULTI_RESOLUTION = (2048, 1024, 512)
"""STFT windows of `multi_resolution_loss` in samples, each with a hop of a quarter."""
LOG_FLOOR = 1e-4
"""Unit-energy magnitude (-80 dBFS of white noise) under which details do not count."""

Milliseconds = Annotated[float, Field(gt=0, le=1000)]


class SpectralLossConfig(Config):
    """Multi-resolution STFT and mel distances."""

    windows_ms: tuple[Milliseconds, ...] = (93, 46, 23, 12, 6)
    """STFT windows, to the nearest power of two in samples, each with a hop of a half; mel
    distances use all of them."""
    bin_windows_ms: tuple[Milliseconds, ...] = (93, 23, 6)
    """The windows whose single bins are compared, by log magnitude and as complex numbers."""
    windows_per_step: int = Field(default=3, ge=1)
    """Windows drawn at random in each training step; the mean over steps is that of all."""
    stft_weight: float = Field(default=0.5, ge=0)
    mel_weight: float = Field(default=1.0, ge=0)
    complex_weight: float = Field(default=0.2, ge=0)
    """Weight of the compressed complex spectrum, which also gives silence a gradient."""


class SpectralDistance(nn.Module):
    """Distances of STFT log magnitudes, mel log magnitudes and compressed complex spectra."""

    def __init__(self, config: SpectralLossConfig, sample_rate: int) -> None:
        super().__init__()
        self.config = config
        self.windows, self.bin_windows = (
            tuple(fft_length(one / 1000, sample_rate) for one in windows)
            for windows in (config.windows_ms, config.bin_windows_ms)
        )
        for window in self.windows:
            num_bands = max(8, window // 12)
            bank = mel_filterbank(min(num_bands, 128), window, sample_rate)
            self.register_buffer(f"bank_{window}", bank, persistent=False)

    def features(self, wav: Tensor, windows: Sequence[int]) -> list[tuple[str, Tensor]]:
        """Named frame features of wav (B, C, T), each (B, C, features, M) and scaled to be summed.

        The Euclidean norm over `features` of a difference is a root-mean-square over bins.
        """
        config = self.config
        found: list[tuple[str, Tensor]] = []
        for window in windows:
            hop = window // 2
            spectrum = stft(F.pad(wav, (0, -wav.shape[-1] % hop)), window, hop)
            power = spectrum.real.square() + spectrum.imag.square()
            # The small constants bound the gradient of the root at zero magnitude.
            magnitude = (power + 1e-12).sqrt()
            bands = getattr(self, f"bank_{window}") @ magnitude
            found.append(("mel", _scaled((bands + LOG_FLOOR).log(), config.mel_weight)))
            if window in self.bin_windows:
                found.append(("stft", _scaled((magnitude + LOG_FLOOR).log(), config.stft_weight)))
                compressed = torch.view_as_real(spectrum) * (magnitude + 1e-3).rsqrt()[..., None]
                compressed = compressed.movedim(-1, 2).flatten(2, 3)
                found.append(("complex", _scaled(compressed, config.complex_weight)))
        return found

    def forward(self, reference: Tensor, *estimates: Tensor) -> dict[str, Tensor]:
        """Distance of one estimate, or energy distance of two independent ones, by name.

        Args:
            reference: (B, C, T).
            estimates: one or two of (B, C, T).

        Returns:
            Scalars among {"mel", "stft", "complex"}, weights applied; averaged over windows.
        """
        windows = self._draw()
        target = self.features(reference, windows)
        guesses = [self.features(estimate, windows) for estimate in estimates]
        totals: dict[str, Tensor] = {}
        for index, (name, clean) in enumerate(target):
            distance = torch.stack([_norm(clean - g[index][1]) for g in guesses]).mean()
            if len(guesses) == 2:
                distance = distance - 0.5 * _norm(guesses[0][index][1] - guesses[1][index][1])
            share = len(self.windows) / len(windows)
            count = len(self.windows if name == "mel" else self.bin_windows)
            totals[name] = totals.get(name, distance.new_zeros(())) + distance * share / count
        return totals

    def _draw(self) -> tuple[int, ...]:
        """All windows, or while training a random few of them."""
        windows, count = self.windows, self.config.windows_per_step
        if not self.training or count >= len(windows):
            return windows
        chance = shared_generator(torch.device("cpu"))
        order = torch.randperm(len(windows), generator=chance)
        return tuple(windows[index] for index in order[:count].tolist())


VIEWS = ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.5, -0.5))
"""What of left and right is in each of the two, in the middle, and in the side."""


def draw_views(reference: Tensor) -> Tensor:
    """Draw in which signal of one channel sounds are to be like recordings (B, C, T).

    Of a stereo recording it is left, right, the middle or the side: each alone leaves open what the
    others tell, and in the mean over steps all count. Of one whose sides are equal it is left or
    right: silence is no side that a decoder could be asked for whose channels have noises of their
    own.

    Returns:
        What of each channel is in it (B, C), for `viewed`.
    """
    batch, channels, _ = reference.shape
    if channels == 1:
        return reference.new_ones(batch, 1)
    drawn = randint(len(VIEWS), (batch,), reference.device)
    return _views(reference.device)[torch.where(is_wide(reference), drawn, drawn % 2)]


@cache  # to bring them to a device is to wait for it
def _views(device: torch.device) -> Tensor:
    return torch.tensor(VIEWS, device=device)


def viewed(wav: Tensor, views: Tensor) -> Tensor:
    """The signals (B, 1, T) of `views` (B, C) in sounds (B, C, T)."""
    return torch.einsum("bct,bc->bt", wav, views)[:, None]


def is_wide(wav: Tensor) -> Tensor:
    """Whether each of stereo sounds (B, 2, T) has a side that counts: (B,)."""
    return mid_side(wav)[1].square().mean(dim=1).sqrt() > LOG_FLOOR


def multi_resolution_loss(reference: Tensor, estimate: Tensor) -> Tensor:
    """Log magnitude distance and spectral convergence (Yamamoto et al. 2020, eq. 4 to 6).

    For decoders that aim at the recording itself: unlike `SpectralDistance` it is no proper score,
    and what it likes best of a noise are magnitudes without chance. The mean over windows, items
    and channels of waveforms (B, C, T).
    """
    total = reference.new_zeros(())
    for window in MULTI_RESOLUTION:
        hop = window // 4
        padding = (0, -reference.shape[-1] % hop)
        spectra = (stft(F.pad(wav, padding), window, hop) for wav in (reference, estimate))
        clean, guess = ((one.real.square() + one.imag.square() + 1e-12).sqrt() for one in spectra)
        logs = (clean.clamp_min(LOG_FLOOR).log() - guess.clamp_min(LOG_FLOOR).log()).abs().mean()
        error = ((clean - guess).square().mean(dim=(2, 3)) + 1e-12).sqrt()
        level = clean.square().mean(dim=(2, 3)).sqrt().clamp_min(LOG_FLOOR)
        total = total + logs + (error / level).mean()
    return total / len(MULTI_RESOLUTION)


def _scaled(features: Tensor, weight: float) -> Tensor:
    """Scale so that the Euclidean norm over dimension 2 is `weight` times the RMS."""
    return features * (weight / math.sqrt(features.shape[2]))


def _norm(difference: Tensor) -> Tensor:
    """Mean over frames of the Euclidean norm of (B, C, features, M)."""
    return (difference.square().sum(dim=2) + 1e-8).sqrt().mean()


def adversarial_loss(fake_scores: Sequence[Tensor]) -> Tensor:
    """Generator's hinge loss, mean over discriminators (Lim and Ye 2017)."""
    return torch.stack([-score.mean() for score in fake_scores]).mean()


def discriminator_loss(real_scores: Sequence[Tensor], fake_scores: Sequence[Tensor]) -> Tensor:
    """Discriminators' hinge loss, mean over discriminators."""
    terms = [
        (1 - real).relu().mean() + (1 + fake).relu().mean()
        for real, fake in zip(real_scores, fake_scores, strict=True)
    ]
    return torch.stack(terms).mean()


def feature_matching_loss(
    real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]
) -> Tensor:
    """Mean relative difference of the discriminators' features (Kumar et al. 2019)."""
    goals = [one.detach() for maps in real for one in maps]
    guesses = [one for maps in fake for one in maps]
    # Sizes of the whole batch: those of a process's share would weigh its items otherwise.
    sizes = mean_over_processes(torch.stack([goal.abs().mean() for goal in goals]))
    errors = [(guess - goal).abs().mean() for guess, goal in zip(guesses, goals, strict=True)]
    return (torch.stack(errors) / sizes.clamp_min(1e-3)).mean()
