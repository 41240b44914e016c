"""Draw the takes of a run as a sheet of spectrograms: `python tools/picture.py RUN OUT.png`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from audiogen.audio.io.files import read_audio
from audiogen.audio.spectral import mel_filterbank, stft

RANGE_DB = 70.0
HOP = 256


def levels(path: Path) -> tuple[np.ndarray, float]:
    """Log-mel levels in dB (bands, frames) of a sound's first channel, and its seconds."""
    wav, rate = read_audio(path)
    mono = wav[0, : wav.shape[1] // HOP * HOP]
    bands = mel_filterbank(96, 1024, rate) @ stft(mono, 1024, HOP).abs()
    return (20 * bands.clamp_min(1e-6).log10()).numpy(), wav.shape[1] / rate


def draw(run: Path, out: Path, per_label: int) -> None:
    """Write the sheet: a row per label, `per_label` takes in a row."""
    takes: dict[str, list[Path]] = {}
    for note in sorted((run / "evaluation" / "takes").glob("*.json")):
        label = json.loads(note.read_text(encoding="utf-8"))["label"]
        takes.setdefault(label, []).append(note.with_suffix(".wav"))
    if not takes:
        raise SystemExit(f"{run}: no takes; run `audiogen evaluate` first")
    rows = len(takes)
    figure = Figure(figsize=(2.6 * per_label, 1.15 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, per_label, squeeze=False)
    for row, (label, paths) in zip(grid, sorted(takes.items()), strict=True):
        for axes, path in zip(row, paths, strict=False):
            shown, seconds = levels(path)
            top = float(shown.max())
            axes.imshow(
                shown,
                origin="lower",
                aspect="auto",
                cmap="magma",
                vmin=top - RANGE_DB,
                vmax=top,
                extent=(0, seconds, 0, 1),
            )
        for axes in row:
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].set_ylabel(label.replace(" ", "\n"), fontsize=9, rotation=0, ha="right", va="center")
    figure.savefig(out, dpi=80)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--per-label", type=int, default=4)
    given = parser.parse_args()
    draw(given.run, given.out, given.per_label)
