"""How often a joint is heard: in loops, in plain takes that are looped, at inpainted borders.

    python tools/bench/seams.py RUN --labels rain wind --count 50

A joint counts as heard when the spectral flux across it lies above the 95th percentile of the
flux at all other places of the same sound: one joint in twenty is, of sounds that have none.
Inpainting replaces the second fifth of plain takes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from timing import machine, write_figures
from torch import Tensor

from audiogen.audio.io.files import read_audio
from audiogen.audio.loops import INAUDIBLE_FLUX, measure_seam
from audiogen.pipeline import Pipeline
from audiogen.take_request import TakeRequest
from audiogen.takes.editing import inpaint
from audiogen.takes.making import write_takes
from audiogen.takes.sources import EditRequest
from audiogen.takes.take import read_take

BATCH = 8


def is_smooth(wav: Tensor, place: int, rate: int) -> bool:
    """Whether the flux at sample `place` of a sound (C, T) is within what is usual in it."""
    seam = measure_seam(wav.roll(-place, dims=1), rate)
    return seam.flux <= max(seam.flux_p95, INAUDIBLE_FLUX)


def smooth_plain(pipeline: Pipeline, labels: Sequence[str], count: int, seconds: float) -> int:
    """How many plain takes, played as loops, have a joint that is not heard."""
    rate = pipeline.codec.spec.sample_rate
    found = 0
    for label in labels:
        for first in range(0, count, BATCH):
            seeds = range(first, min(first + BATCH, count))
            wavs = pipeline([label] * len(seeds), seconds=seconds, seeds=seeds)
            found += sum(is_smooth(wav, 0, rate) for wav in wavs)
    return found


def smooth_loops(
    pipeline: Pipeline, labels: Sequence[str], count: int, seconds: float
) -> tuple[int, int]:
    """How many loops, as `audiogen sample --loop` writes them, have a joint that is not heard.

    Returns:
        The number of those that were right at once, and the number after some were made again.
    """
    at_once = smooth = 0
    with tempfile.TemporaryDirectory() as name:
        requests = TakeRequest.of_each(labels, range(count), seconds=seconds, loop=True)
        for path in write_takes(pipeline, requests, Path(name)):
            wav, rate = read_audio(path)
            take = read_take(path)
            is_right = is_smooth(wav, 0, rate)
            smooth += is_right
            at_once += is_right and take is not None and take.seed < count
    return at_once, smooth


def smooth_borders(run: Path, labels: Sequence[str], count: int, seconds: float) -> tuple[int, int]:
    """Smooth borders of inpainted takes, and how many samples outside of regions have changed."""
    smooth = changed = 0
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        requests = TakeRequest.of_each(labels, range(count), seconds=seconds)
        for path in write_takes(Pipeline.from_pretrained(run), requests, out):
            before, rate = read_audio(path)
            region = f"{seconds / 5}:{2 * seconds / 5}"
            made = inpaint(run, path, EditRequest(out=out / "edits", seed=7), regions=[region])
            after, _ = read_audio(made)
            start, stop = round(seconds / 5 * rate), round(2 * seconds / 5 * rate)
            changed += int((after != before)[:, :start].sum() + (after != before)[:, stop:].sum())
            smooth += is_smooth(after, start, rate) + is_smooth(after, stop, rate)
    return smooth, changed


def main() -> None:
    """Print the shares, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--labels", nargs="+", required=True)
    parser.add_argument("--count", type=int, default=20, help="takes per label")
    parser.add_argument("--inpaint", type=int, default=5, help="inpainted takes per label")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    pipeline = Pipeline.from_pretrained(given.run)
    total = given.count * len(given.labels)
    plain = smooth_plain(pipeline, given.labels, given.count, given.seconds)
    at_once, smooth_all = smooth_loops(pipeline, given.labels, given.count, given.seconds)
    loops = {"plain takes": plain, "loops at once": at_once, "loops as written": smooth_all}
    for name, number in loops.items():
        print(f"{name:<24} {number} of {total} joints not heard", flush=True)
    borders = 2 * given.inpaint * len(given.labels)
    smooth, changed = smooth_borders(given.run, given.labels, given.inpaint, given.seconds)
    print(f"{'inpainted borders':<24} {smooth} of {borders} not heard")
    print(f"{'outside of the regions':<24} {changed} samples changed")
    if given.out is not None:
        result = {
            "machine": machine(),
            "labels": given.labels,
            "seconds": given.seconds,
            "loops": {**loops, "of": total},
            "inpaint": {"smooth": smooth, "of": borders, "samples_changed_outside": changed},
        }
        write_figures(given.out, result)


if __name__ == "__main__":
    main()
