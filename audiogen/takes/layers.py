"""Layers: a sound taken apart into sounds that add up to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from audiogen.audio.io.files import read_audio
from audiogen.locking import new_file
from audiogen.storage import sha256_file
from audiogen.takes.stems import DEFAULT_MODEL, Separator, load_separator
from audiogen.takes.take import Layer, Take, take_of_sound, write_take

By = Literal["hpss", "bands", "stems"]
FRAME_SECONDS = 0.046
MARGIN = 2.0
"""How much more a part must be harmonic than percussive, or the reverse, not to be residual."""
BAND_EDGES_HZ = {"low": 200.0, "mid": 2000.0}
CROSSOVER_OCTAVES = 0.5


def split(
    file: Path, *, by: By = "hpss", stems_model: str | None = None, out: Path | None = None
) -> list[Path]:
    """Write the layers of a sound beside it as 32-bit float WAV; return their paths.

    Float, since a layer may go beyond full scale where the others take away from it. Read back,
    the layers add up to the file within 1e-4. Those of a loop are loops.

    Args:
        file: a sound, which is only read. Its JSON file, if any, says whether it is a loop and
            what the layers are told to be of, unless it tells of another sound.
        by: `hpss` for harmonic, percussive and residual layers, `bands` for low, mid and high,
            `stems` for drums, bass and so on by Demucs, and a residual.
        stems_model: of stems, see `load_separator`; None is its default.
        out: folder; by default the file's own.

    Raises:
        ValueError: a model of stems is given for other layers, or cannot be had.
    """
    if stems_model is not None and by != "stems":
        raise ValueError(
            f"{stems_model}: a model of stems, while the layers are by {by}\n"
            "  add --by stems, or leave out --stems-model"
        )
    wav, sample_rate = read_audio(file)
    take = take_of_sound(file) or Take(prompt="", seconds=wav.shape[1] / sample_rate, seed=0)
    separator = load_separator(stems_model or DEFAULT_MODEL) if by == "stems" else None
    about: dict[str, Any] = {}
    if separator is not None:
        about = {"model": separator.name, "weights": separator.sha256}
    digest = sha256_file(file)
    layers = split_layers(wav, sample_rate, by=by, ring=take.loop, separator=separator)
    paths = []
    for name, layer in layers.items():
        part = Layer(file=file.name, sha256=digest, by=by, layer=name, **about)
        told = take.model_copy(update={"layer": part, "sample_rate": sample_rate})
        with new_file(out or file.parent, f"{file.stem}-{name}") as path:
            write_take(path, layer, told, encoding="FLOAT")
        paths.append(path)
    return paths


def split_layers(
    wav: Tensor,
    sample_rate: int,
    *,
    by: By = "hpss",
    ring: bool = False,
    separator: Separator | None = None,
) -> Mapping[str, Tensor]:
    """Take a sound apart; the last layer is what the others leave.

    Args:
        wav: (C, T).
        sample_rate: Hz.
        by: see `split`.
        ring: whether it is a loop; then its layers are, too.
        separator: of stems.

    Returns:
        (C, T) by name; their sum is `wav`.
    """
    ways = {"hpss": _hpss, "bands": _bands}
    if separator is not None:
        ways["stems"] = separator.separate
    if by not in ways:
        raise ValueError(f"split: expected by {' or '.join(ways)}, got {by!r}.")
    length = wav.shape[1]
    around = min(length, 2 * sample_rate) if ring else 0
    # A loop is analysed between pieces of its neighbouring turns, so that its ends do not show.
    turns = torch.cat([wav[:, length - around :], wav, wav[:, :around]], dim=1) if ring else wav
    parts = ways[by](turns, sample_rate)
    layers = {name: part[:, around : around + length] for name, part in parts.items()}
    rest = "high" if by == "bands" else "residual"
    layers[rest] = wav - torch.stack(list(layers.values())).sum(dim=0)
    return layers


def _hpss(wav: Tensor, sample_rate: int) -> dict[str, Tensor]:
    """Harmonic and percussive parts by median filters (Fitzgerald 2010; Driedger 2014, margin)."""
    import librosa  # noqa: PLC0415 (numba is slow to import)

    size = 2 ** round(np.log2(FRAME_SECONDS * sample_rate))
    samples = wav.double().numpy()
    spectrum = librosa.stft(
        np.pad(samples, ((0, 0), (0, max(0, size - samples.shape[1])))), n_fft=size
    )
    parts = librosa.decompose.hpss(spectrum, margin=MARGIN)
    return {
        name: torch.from_numpy(librosa.istft(part, n_fft=size, length=samples.shape[1])).float()
        for name, part in zip(("harmonic", "percussive"), parts, strict=True)
    }


def _bands(wav: Tensor, sample_rate: int) -> dict[str, Tensor]:
    """The bands below each edge, by zero-phase filters whose slopes are raised cosines."""
    width = wav.shape[1]
    spectrum = torch.fft.rfft(torch.nn.functional.pad(wav.double(), (0, width)))
    hertz = torch.linspace(0, sample_rate / 2, spectrum.shape[1], dtype=torch.float64)
    below = torch.zeros_like(hertz)
    parts = {}
    for name, edge in BAND_EDGES_HZ.items():
        octaves = (hertz.clamp_min(1e-3) / edge).log2() / CROSSOVER_OCTAVES
        upto = 0.5 - 0.5 * torch.sin(torch.pi / 2 * octaves.clamp(-1, 1))
        parts[name] = torch.fft.irfft(spectrum * (upto - below), n=2 * width)[:, :width].float()
        below = upto
    return parts
