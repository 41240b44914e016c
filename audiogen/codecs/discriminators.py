"""Multi-resolution STFT discriminators (Défossez et al. 2022, EnCodec; Kumar et al. 2023, DAC)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from audiogen.audio.spectral import fft_length, stft
from audiogen.codecs.losses import Milliseconds
from audiogen.schema import Config

SLOPE = 0.1
"""Of the leaky rectifiers."""


class DiscriminatorConfig(Config):
    """Discriminators on complex spectra of several resolutions."""

    windows_ms: tuple[Milliseconds, ...] = (93, 46, 12)
    """STFT windows, to the nearest power of two in samples, each with a hop of a quarter."""
    channels: int = Field(default=24, gt=0)
    """Channels of the first layer; later layers have two and four times as many."""


class STFTDiscriminator(nn.Module):
    """Convolutions over time and frequency of one compressed complex spectrum."""

    def __init__(self, window: int, channels: int) -> None:
        super().__init__()
        self.window = window
        plan = (  # out channels, kernel and stride over (time, frequency)
            (channels, (3, 9), (1, 4)),
            (2 * channels, (3, 5), (2, 2)),
            (4 * channels, (3, 3), (2, 2)),
            (4 * channels, (3, 3), (1, 1)),
        )
        self.layers = nn.ModuleList()
        width = 2  # real and imaginary part
        for out_channels, kernel, stride in plan:
            padding = (kernel[0] // 2, kernel[1] // 2)
            conv = nn.Conv2d(width, out_channels, kernel, stride, padding)
            # The default initialisation shrinks signals so much that hinge losses stay at 2.
            nn.init.kaiming_normal_(conv.weight, a=SLOPE)
            self.layers.append(weight_norm(conv))
            width = out_channels
        self.score = weight_norm(nn.Conv2d(width, 1, (3, 3), padding=1))

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Score wav (B, 1, T): scores (B, 1, M', F') and the feature maps of each layer."""
        with torch.autocast(wav.device.type, enabled=False):
            hop = self.window // 4
            spectrum = stft(nn.functional.pad(wav, (0, -wav.shape[-1] % hop)), self.window, hop)
            power = spectrum.real.square() + spectrum.imag.square()
            spectrum = spectrum * (power + 1e-6).pow(-0.35)
        x = torch.cat([spectrum.real, spectrum.imag], dim=1).transpose(2, 3)
        x = x.contiguous(memory_format=torch.channels_last)
        maps = []
        for layer in self.layers:
            x = nn.functional.leaky_relu(layer(x), SLOPE)
            maps.append(x)
        return self.score(x), maps


class Discriminators(nn.Module):
    """One STFT discriminator per resolution."""

    def __init__(self, config: DiscriminatorConfig, sample_rate: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            STFTDiscriminator(fft_length(window / 1000, sample_rate), config.channels)
            for window in config.windows_ms
        )

    def forward(self, wav: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Scores and feature maps of wav (B, 1, T), one entry per resolution."""
        scored = [member(wav) for member in self.members]
        return [score for score, _ in scored], [maps for _, maps in scored]
