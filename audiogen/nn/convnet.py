"""The strided waveform network of DAC (Kumar et al. 2023, arXiv 2306.06546) and Oobleck.

Convolutions shorten the waveform stride by stride while the channels double, and transposed ones
undo it. All are weight-normalised; Snake activations suit periodic signals. The layers are those of
DAC but for its last tanh: recordings may peak above 1, a codec's output is not limited here, and
tanh has little gradient where it limits. Oobleck leaves it out as well. Weights are drawn as in
Oobleck too, in proportion to the width: with DAC's fixed deviation narrow networks begin silent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

DILATIONS = (1, 3, 9)
KERNEL = 7


class Snake(nn.Module):
    """x + sin(a x)**2 / a with a learnt a per channel (Ziyin et al. 2020, arXiv 2006.08195)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, T) to the same shape."""
        return x + (self.alpha * x).sin().square() / (self.alpha + 1e-9)


class ResidualUnit(nn.Module):
    """A dilated and a pointwise convolution beside the identity, (B, channels, T)."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Snake(channels),
            _conv(channels, channels, KERNEL, dilation=dilation),
            Snake(channels),
            _conv(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, T) to the same shape."""
        y: Tensor = x + self.layers(x)
        return y


class ConvEncoder(nn.Module):
    """Waveform to features at the latent rate."""

    def __init__(
        self, audio_channels: int, width: int, strides: Sequence[int], out_channels: int
    ) -> None:
        """Make a network of `width` channels at the sample rate; each stride doubles them."""
        super().__init__()
        layers: list[nn.Module] = [_conv(audio_channels, width, KERNEL)]
        for stride in strides:
            layers += [ResidualUnit(width, dilation) for dilation in DILATIONS]
            down = nn.Conv1d(width, 2 * width, 2 * stride, stride, padding=math.ceil(stride / 2))
            layers += [Snake(width), weight_norm(down)]
            width *= 2
        layers += [Snake(width), _conv(width, out_channels, 3)]
        self.layers = nn.Sequential(*layers)

    def forward(self, wav: Tensor) -> Tensor:
        """Map wav (B, C, L * hop_length) to (B, out_channels, L)."""
        features: Tensor = self.layers(wav)
        return features


class ConvDecoder(nn.Module):
    """Latents to waveform: the encoder's mirror image."""

    def __init__(
        self, audio_channels: int, width: int, strides: Sequence[int], in_channels: int
    ) -> None:
        """Make a network of `width` channels at the latent rate; each stride halves them.

        The `strides` are those of the encoder, in its order.
        """
        super().__init__()
        layers: list[nn.Module] = [_conv(in_channels, width, KERNEL)]
        for stride in reversed(strides):
            up = nn.ConvTranspose1d(
                width,
                width // 2,
                2 * stride,
                stride,
                padding=math.ceil(stride / 2),
                output_padding=stride % 2,
            )
            layers += [Snake(width), weight_norm(up)]
            width //= 2
            layers += [ResidualUnit(width, dilation) for dilation in DILATIONS]
        layers += [Snake(width), _conv(width, audio_channels, KERNEL)]
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents (B, in_channels, L) to wav (B, C, L * hop_length), unbounded."""
        wav: Tensor = self.layers(latents)
        return wav


def contexts(network: Any, hop_length: int, window: int = 0) -> tuple[int, int]:
    """Latent frames on each side that encoding and decoding depend on, at most.

    The convolutions of `network.encoder` and `network.decoder` stand in the order of their use;
    other layers add `window` samples to each.
    """
    reaches = _reach(network.encoder, 1), _reach(network.decoder, hop_length)
    encode, decode = (math.ceil((reach + window) / hop_length) for reach in reaches)
    return encode, decode


def _reach(part: nn.Module, step: float) -> float:
    """Samples on each side that one step of a stack depends on; `step` samples per step go in.

    Whether a kernel looks back, ahead or both ways is left open: it counts on both sides.
    """
    reach = 0.0
    for layer in part.modules():
        if isinstance(layer, nn.ConvTranspose1d):
            step /= layer.stride[0]
            reach += (layer.kernel_size[0] - 1) * step
        elif isinstance(layer, nn.Conv1d):
            reach += (layer.kernel_size[0] - 1) * layer.dilation[0] * step
            step *= layer.stride[0]
    return reach


def _conv(in_channels: int, out_channels: int, kernel: int, *, dilation: int = 1) -> nn.Module:
    """A weight-normalised convolution that keeps the length."""
    padding = (kernel - 1) * dilation // 2
    conv = nn.Conv1d(in_channels, out_channels, kernel, padding=padding, dilation=dilation)
    normed: nn.Module = weight_norm(conv)
    return normed
