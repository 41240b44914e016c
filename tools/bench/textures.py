"""How varied the default data set is, and how near to real sounds, family by family.

    python tools/bench/textures.py /data/recordings --clips 12
    python tools/bench/textures.py /data/recordings /data/esc10 --against bench/before.json

Each folder of recordings has a metadata.csv with file, label and caption; `REAL` says which labels
and captions are of a family's kind. Clips and recordings are cut to their loudest 2 s, recordings
that are shorter are left out, and all are compared by their texture statistics along the main axes
of the recordings. "diversity" is the mean distance between two of ours over that between two real
ones; "distance" the Fréchet distance of ours to them, and "floor" that between two halves of the
real ones. "width" and "above 11 kHz" are medians of ours in dB. "heard" is the share of real ones
that a judge that has learnt our clips alone names by their family. "ms" is processor time a clip.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import machine, write_figures
from torch import Tensor

from audiogen.audio.dsp import loudest_part, resample
from audiogen.audio.io.files import read_audio
from audiogen.audio.measure.character import high_band_db, width_db
from audiogen.audio.measure.texture_features import Array, texture_features
from audiogen.data.synthetic.writing import FAMILIES, plan_clip, render_clip
from audiogen.evaluation.metrics.distances import diversity, frechet_distance, matched
from audiogen.evaluation.metrics.feature_space import FeatureSpace
from audiogen.judge.judge import Judge

RATE = 44_100
SECONDS = 2.0
MOST_REAL = 40
NUM_ITEMS = 8
COLUMNS = ("diversity", "distance", "floor", "width", "above 11 kHz", "heard", "ms")
REAL: dict[str, tuple[str, str]] = {
    "rain": ("rain", ""),
    "bell": ("bells", "bell"),
    "wind": ("wind", ""),
    "birds": ("birds", ""),
    "sea waves": ("waves|sea waves", ""),
    "clock": ("clock|clock tick", ""),
    "fire": ("fire|crackling fire|fire crackling", ""),
    "engine": ("engine|car", "(?i)^(?!.*(spaceship|horn|door|start|stop|skid))"),
    "stream": ("stream|water", "(?i)stream|brook|river|creek|water flow"),
    "footsteps": ("footsteps", ""),
    "thunder": ("thunder", ""),
    "crickets": ("insects", "(?i)cricket|cicada|insect"),
    "helicopter": ("helicopter|aircraft", "(?i)helicopter"),
    "wind chimes": ("bells|glass", "(?i)chime"),
    "drone": ("drone|pad", ""),
    "metal hits": ("metal", "(?i)hit|struck|bang|strik|clang|hammer|pipe|anvil|knock"),
}
"""By family, patterns for the label (whole) and the caption (any part) of its real kind."""


def real_files(folders: Sequence[Path], family: str) -> Iterator[Path]:
    """Recordings of the kind, in a fixed random order."""
    label, caption = (re.compile(pattern) for pattern in REAL[family])
    found = []
    for folder in folders:
        with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if label.fullmatch(row["label"]) and caption.search(row["caption"]):
                    found.append(folder / row["file"])
    yield from (found[index] for index in np.random.default_rng(0).permutation(len(found)))


def real_clips(folders: Sequence[Path], family: str) -> list[Tensor]:
    """The loudest part (C, T) of up to `MOST_REAL` recordings that are long enough."""
    wavs: list[Tensor] = []
    for path in real_files(folders, family):
        wav, rate = read_audio(path)
        if wav.shape[1] >= SECONDS * rate and len(wavs) < MOST_REAL:
            part = loudest_part(wav, round(SECONDS * rate))
            wavs.append(resample(part, rate, RATE)[:, : round(SECONDS * RATE)])
    return wavs


def our_clips(family: int, count: int, seed: int) -> tuple[list[Tensor], float]:
    """Clips of 5 s (C, T), and the processor time of each in milliseconds."""
    begun = time.process_time()
    wavs = [
        torch.from_numpy(
            render_clip(
                plan_clip(seed, family + number * len(FAMILIES)),
                seconds=5.0,
                sample_rate=RATE,
                audio_channels=2,
            )
        ).float()
        for number in range(count)
    ]
    return wavs, 1000 * (time.process_time() - begun) / count


def median(values: Sequence[float | None]) -> float:
    """Median of those that there are."""
    return float(np.median([value for value in values if value is not None]))


def halves(points: Array) -> float:
    """Fréchet distance between two halves of the real points, drawn at random, 32 times."""
    rng, size = np.random.default_rng(0), min(NUM_ITEMS, len(points) // 2)
    if size < 2:
        return float("nan")
    drawn = [rng.permutation(points)[: 2 * size] for _ in range(32)]
    return float(np.mean([frechet_distance(one[:size], one[size:]) for one in drawn]))


def family_figures(ours: Array, real: Array) -> dict[str, float]:
    """Diversity, distance and floor of points (N, K); without two real ones there are none."""
    if len(real) < 2:
        return {}
    distance = matched(frechet_distance, ours, real, num_items=NUM_ITEMS)
    return {"diversity": diversity(ours, real), "distance": distance, "floor": halves(real)}


def measure(
    folders: Sequence[Path], clips: int, seed: int, names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Every figure of every family."""
    chosen = [index for index, one in enumerate(FAMILIES) if one.label in names]
    figures: dict[str, dict[str, float]] = {}
    ours, real, learnt = {}, {}, []
    for index in chosen:
        label = FAMILIES[index].label
        wavs, spent = our_clips(index, clips, seed)
        figures[label] = {
            "width": median([width_db(wav) for wav in wavs]),
            "above 11 kHz": median([high_band_db(wav, RATE) for wav in wavs]),
            "ms": spent,
        }
        ours[label] = [loudest_part(wav, round(SECONDS * RATE)) for wav in wavs]
        real[label] = real_clips(folders, label)
        learnt += [label] * clips
    judge = Judge.fit([wav for wavs in ours.values() for wav in wavs], learnt, RATE, num_versions=1)
    described = {label: texture_features(wavs, RATE) for label, wavs in real.items() if wavs}
    space = FeatureSpace.fit(np.concatenate(list(described.values())))
    for label, wavs in real.items():
        if wavs:
            points = space.project(texture_features(ours[label], RATE))
            figures[label] |= family_figures(points, space.project(described[label]))
            figures[label]["heard"] = float(np.mean([one == label for one in judge.predict(wavs)]))
    return figures


def table(figures: dict[str, dict[str, float]], before: dict[str, dict[str, float]]) -> str:
    """One line a family, and the mean; figures of before stand in front of an arrow."""

    def cell(label: str, column: str) -> str:
        sides = [tree.get(label, {}).get(column) for tree in (before, figures)]
        return ">".join(f"{value:.2f}" for value in sides if value is not None) or "-"

    for tree in (figures, before):
        if tree:
            rows = [row for label, row in tree.items() if label != "mean"]
            tree["mean"] = {
                column: float(np.nanmean([row[column] for row in rows if column in row]))
                for column in COLUMNS
            }
    lines: list[tuple[str, ...]] = [("family", *COLUMNS)]
    lines += [(label, *(cell(label, column) for column in COLUMNS)) for label in figures]
    return "\n".join(
        f"{line[0]:12s} " + " ".join(f"{value:>14s}" for value in line[1:]) for line in lines
    )


def main() -> None:
    """Parse, render, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--families", nargs="+", choices=tuple(REAL), default=tuple(REAL))
    parser.add_argument("--against", type=Path, help="figures of before, to stand beside")
    parser.add_argument("--write", type=Path, help="JSON file to write the figures to")
    given = parser.parse_args()
    torch.set_num_threads(1)
    figures = measure(given.folders, given.clips, given.seed, given.families)
    tree: dict[str, Any] = {"machine": machine("numpy", "scipy"), "clips": given.clips}
    before = json.loads(given.against.read_text())["families"] if given.against else {}
    print(table(figures, before))
    if given.write:
        write_figures(given.write, {**tree, "families": figures})


if __name__ == "__main__":
    main()
