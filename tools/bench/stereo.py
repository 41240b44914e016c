"""How well a run's codec keeps the width and the high band of stereo recordings.

    python tools/bench/stereo.py RUN [--out FILE]

Of each held-out recording in stereo that is not mono in two channels: the energy of the side over
that of the mid, and that above 11 kHz over all, of the codec's reconstruction less those of the
recording, in dB. 20 % of a width are 1.6 dB. Further: how wide mono recordings become.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any

from timing import machine, write_figures

from audiogen.audio.measure.character import high_band_db, width_db
from audiogen.codecs import load_codec
from audiogen.data.manifest import read_split
from audiogen.evaluation.material import real_sounds, reconstructions
from audiogen.experiment import load_config

MONO_DB = -50.0
"""Width below which a recording counts as mono."""
WIDTH_DB, HIGH_BAND_DB = 20 * math.log10(1.2), 2.0
"""Differences that are asked for at most."""


def measure(run: Path) -> dict[str, Any]:
    """Measure the differences, a list of dB for each kind, and the width of what is mono."""
    config = load_config(run, [f"run_dir={run}"])
    codec = load_codec(config.run.model("codec"))
    rate = codec.spec.sample_rate
    rows = read_split(config.run.manifest, "held_out")
    real = real_sounds(config, codec.spec, rows, len(rows))
    decoded, _ = reconstructions(config, codec, real)
    found: dict[str, list[float]] = {"width_db": [], "high_band_db": []}
    mono: list[float] = []
    for wav, made in zip(real.wavs, decoded.wavs, strict=True):
        before, after = width_db(wav), width_db(made)
        if before is None or after is None:
            raise SystemExit(f"{run}: its codec is mono")
        if before < MONO_DB:
            mono.append(after)
            continue
        found["width_db"].append(after - before)
        bands = high_band_db(wav, rate), high_band_db(made, rate)
        if bands[0] is not None and bands[1] is not None:
            found["high_band_db"].append(bands[1] - bands[0])
    heard = {"num_mono": len(mono), "widest_mono_db": max(mono, default=None)}
    return {"machine": machine(), "run": run.name, **found, **heard}


def told(name: str, values: list[float], most: float) -> str:
    """The spread of differences, and the share of those that are small enough."""
    low, middle, high = quantiles(values, n=4)
    share = sum(abs(one) <= most for one in values) / len(values)
    return (
        f"{name}: {len(values)} recordings, mean {fmean(values):+.1f} dB,"
        f" quartiles {low:+.1f}, {middle:+.1f}, {high:+.1f} dB; within {most:.1f} dB {share:.2f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    figures = measure(given.run)
    print(told("width", figures["width_db"], WIDTH_DB))
    print(told("high band", figures["high_band_db"], HIGH_BAND_DB))
    if figures["num_mono"]:
        widest = figures["widest_mono_db"]
        print(f"mono recordings: {figures['num_mono']}, the widest {widest:.0f} dB")
    if given.out:
        write_figures(given.out, figures)
