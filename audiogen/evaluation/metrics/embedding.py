"""An embedding that others have too: aiSFX, trained on libraries of sound effects.

A. B. Ma and A. Lerch, "Representation Learning for the Automatic Indexing of Sound Effects
Libraries" (ISMIR 2022). The package `aisfx` 0.1.2 holds the weights of its best model
(X-Sequential-CE, nine libraries labelled in the Universal Category System), which its authors
release under CC BY 4.0. Only that file is used, found by its path: nothing of the package is
imported, and of the file the raw arrays alone are read.
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.audio.dsp import resample, to_channels
from audiogen.audio.measure.texture_features import Array
from audiogen.storage import sha256_file

PACKAGE = "aisfx"
WEIGHTS = "models/checkpoint.pth"
WEIGHTS_SHA256 = "499ea75909c932a2f94c35fa722fa4fabc5bcb7e84917209cc5f7402627b7eb5"
INSTALL = "pip install --no-deps aisfx==0.1.2"

RATE, N_FFT, HOP, NUM_BANDS = 44_100, 2048, 1024, 96
WINDOW = 100
"""Spectral frames per embedding: 2.3 s."""
_HIGHEST = 9.457798957824707  # of all log-mel values of the training sounds
_WIDTHS = (64, 128, 256, 512)
_BATCH = 8


def find_embedding() -> Path:
    """Return the file that holds the embedding's weights.

    Raises:
        FileNotFoundError: its package is not installed; says how to.
        ValueError: the weights found are not the expected ones.
    """
    package = importlib.util.find_spec(PACKAGE)
    folders = [] if package is None else [*(package.submodule_search_locations or [])]
    for folder in folders:
        weights = Path(folder) / WEIGHTS
        if weights.is_file():
            if sha256_file(weights) != WEIGHTS_SHA256:
                raise ValueError(f"{weights}: not the weights of aisfx 0.1.2 (sha256 differs)")
            return weights
    raise FileNotFoundError(f"aisfx is not installed; `{INSTALL}` brings it")


def why_no_embedding() -> str:
    """Say why sounds cannot be embedded; empty where they can."""
    try:
        find_embedding()
    except (FileNotFoundError, ValueError) as error:
        return str(error)
    return ""


class SoundEffectEmbedding:
    """Sounds to points of 512 dimensions, one for each 2.3 s.

    A network of eight convolutions on a log-mel spectrogram (the nine-layer baseline of
    arXiv 1808.00773), here with its batch normalisations folded into them.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cpu")
        self.layers = [
            (kernel.to(self.device), bias.to(self.device))
            for kernel, bias in _read_layers(find_embedding())
        ]

    @torch.no_grad()
    def __call__(self, wavs: Sequence[Tensor], sample_rate: int) -> Array:
        """Embed sounds.

        Args:
            wavs: clips (C, T) in [-1, 1]; what is left of a clip after its last whole window is
                not heard, and a clip of less than a window is filled up with silence.
            sample_rate: of all of them, in Hz.

        Returns:
            (windows of the first clip and of the second ..., 512).
        """
        points = []
        for wav in wavs:
            for batch in torch.split(_windows(log_mel_frames(wav, sample_rate)), _BATCH):
                points.append(self._embed(batch.to(self.device)).cpu().numpy())
        found: Array = np.concatenate(points)
        return found

    def _embed(self, windows: Tensor) -> Tensor:
        """(B, frames, bands) to (B, 512)."""
        x = windows[:, None]
        for number, (kernel, bias) in enumerate(self.layers):
            x = F.relu(F.conv2d(x, kernel, bias, padding=1))
            if number in (1, 3, 5):
                x = F.max_pool2d(x, 2)
        return x.mean(dim=3).amax(dim=2)


def log_mel_frames(wav: Tensor, sample_rate: int) -> Tensor:
    """The spectrogram that the embedding learnt from: (C, T) -> (frames, 96), about 0 to 1.

    It is Essentia's `MelBands` with the settings of aiSFX: the mean of the channels at 44.1 kHz,
    frames centred on every 1024th sample, a symmetric Hann window of 2048, triangles on the mel
    scale of HTK that each sum to one, and log10(10000 * power + 1).
    """
    mono = to_channels(resample(wav.detach().cpu().float(), sample_rate, RATE), 1)[0].clamp(-1, 1)
    count = _num_frames(len(mono))
    padded = F.pad(mono, (N_FFT // 2, (count - 1) * HOP + N_FFT // 2 - len(mono)))
    frames = padded.unfold(0, N_FFT, HOP) * torch.hann_window(N_FFT, periodic=False)
    power = torch.fft.rfft(frames).abs().square()
    return torch.log10(10_000 * power @ _mel_bands().T + 1) / _HIGHEST


def _num_frames(num_samples: int) -> int:
    return -(-(num_samples + N_FFT // 2) // HOP)


def _windows(frames: Tensor) -> Tensor:
    """Cut (frames, bands) into (B, WINDOW, bands), side by side."""
    count = max(1, len(frames) // WINDOW)
    filled = F.pad(frames, (0, 0, 0, max(0, WINDOW - len(frames))))
    return filled[: count * WINDOW].reshape(count, WINDOW, -1)


def _mel_bands() -> Tensor:
    """Triangles (bands, bins) from 0 Hz to half the rate, of equal width and slope in mel."""
    bins = _mel(torch.arange(N_FFT // 2 + 1, dtype=torch.float64) * RATE / N_FFT)
    edges = torch.linspace(0, float(bins[-1]), NUM_BANDS + 2, dtype=torch.float64)[:, None]
    width = edges[1] - edges[0]
    bands = (1 - (bins - edges[1:-1]).abs() / width).clamp_min(0)
    return (bands / bands.sum(dim=1, keepdim=True)).float()


def _mel(hz: Tensor) -> Tensor:
    """The mel scale of HTK."""
    return 1127.01048 * torch.log1p(hz / 700)


def _read_layers(path: Path) -> list[tuple[Tensor, Tensor]]:
    """Kernels and biases of the eight convolutions.

    The file is a zip archive of raw arrays. What says their names could run code and stays closed:
    their order is known, as the sha256 is. Of each block: two kernels, then of each of two batch
    normalisations scale, shift, mean, variance and a counter.
    """
    layers = []
    with zipfile.ZipFile(path) as archive:

        def array(number: int) -> Tensor:
            data = archive.read(f"archive/data/{number}")
            return torch.from_numpy(np.frombuffer(data, "<f4").astype(np.float32))

        for block, width in enumerate(_WIDTHS):
            for layer in (0, 1):
                kernel = array(12 * block + layer).reshape(width, -1, 3, 3)
                scale, shift, mean, variance = (
                    array(12 * block + 2 + 5 * layer + part) for part in range(4)
                )
                gain = scale / (variance + 1e-5).sqrt()
                layers.append((kernel * gain[:, None, None, None], shift - mean * gain))
    return layers
