"""Say which share of unheard recordings the judge recognises: `python tools/bench/judge.py DIR`.

DIR has recordings and a `metadata.csv` with `file`, `label` and `fold`, as ESC-10's, whose folds
share no source. For each fold a judge is fitted on the others. It names the clips of the fold, and
coloured versions of them.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

import numpy as np
from timing import machine, write_figures

from audiogen.audio.dsp import resample
from audiogen.audio.io.files import read_audio
from audiogen.judge.hearing import coloured_version
from audiogen.judge.judge import Judge

SAMPLE_RATE = 22_050


def recognised(folder: Path) -> tuple[int, dict[str, float]]:
    """How many clips there are, and which shares of clean and of coloured ones are recognised."""
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    wavs = [resample(*read_audio(folder / row["file"]), SAMPLE_RATE) for row in rows]
    right: dict[str, list[bool]] = {"clean": [], "coloured": []}
    rng = np.random.default_rng(0)
    for fold in sorted({row["fold"] for row in rows}):
        learnt = [index for index, row in enumerate(rows) if row["fold"] != fold]
        labels = [rows[index]["label"] for index in learnt]
        judge = Judge.fit([wavs[index] for index in learnt], labels, SAMPLE_RATE)
        for wav, row in zip(wavs, rows, strict=True):
            if row["fold"] == fold:
                versions = {"clean": wav, "coloured": coloured_version(wav, SAMPLE_RATE, rng)}
                for name, version in versions.items():
                    right[name].append(judge.predict([version]) == [row["label"]])
    return len(rows), {name: float(np.mean(found)) for name, found in right.items()}


def main() -> None:
    """Print the shares, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    count, shares = recognised(given.folder)
    error = math.sqrt(shares["clean"] * (1 - shares["clean"]) / count)
    print(f"{count} clips, standard error {error:.3f}")
    for name, share in shares.items():
        print(f"{name:<9} {share:.3f}")
    if given.out is not None:
        figures = {"clips": count, **shares, "standard_error": error, "machine": machine("sklearn")}
        write_figures(given.out, figures)


if __name__ == "__main__":
    main()
