"""Files per second of intake: decoding in child processes, checks, checksums, fingerprints, split.

    python tools/bench/intake.py --files 500
    python tools/bench/intake.py --files 10000 --workers 2 --folder /tmp/sounds

Sounds are 5 s of changing noise at 44.1 kHz, mono and stereo, as WAV, FLAC, Ogg and MP3 in turn.
With --folder they are kept there and used again.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from audiogen.data.intake.scan import scan_folder
from audiogen.evaluation.machine import processor_name

RATE = 44_100
SECONDS = 5.0
FORMATS = ("wav", "flac", "ogg", "mp3")
WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
BLOCK = 1 << 14  # libsndfile keeps a whole Vorbis write on the stack


def write_sounds(folder: Path, count: int) -> None:
    """Write what is missing of `count` sounds; number k is the same every time."""
    length = round(RATE * SECONDS)
    knots = np.linspace(0, length, 20)
    for number in range(count):
        path = folder / f"{number % 100:02d}" / f"sound {number:06d} x.{FORMATS[number % 4]}"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(number)
        noise = random.standard_normal((1 + number // 4 % 2, length))
        brown = np.cumsum(noise, axis=1) * 0.01
        brown -= np.repeat(brown[:, ::441], 441, axis=1)[:, :length]
        wav = random.uniform(0, 1) * noise + brown
        wav *= np.interp(np.arange(length), knots, random.uniform(0.05, 1, size=20))
        wav = 0.5 * wav.T / np.abs(wav).max()
        with soundfile.SoundFile(path, "w", RATE, wav.shape[1]) as file:
            for start in range(0, length, BLOCK):
                file.write(wav[start : start + BLOCK])


def main() -> None:
    """Parse, write, scan, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        write_sounds(folder, given.files)
        load = os.getloadavg()[0]
        before = sum(sum(resource.getrusage(who)[:2]) for who in WHO)
        begun = time.perf_counter()
        rows = scan_folder(folder, num_workers=given.workers)
        seconds = time.perf_counter() - begun
        spent = sum(sum(resource.getrusage(who)[:2]) for who in WHO) - before
    copies = sum(bool(row.copy_of) for row in rows)
    used = sum(row.verdict == "used" for row in rows)
    print(f"{processor_name()}, {os.cpu_count()} processors, load {load:.1f} before the start")
    print(f"{len(rows)} files of {SECONDS:g} s, {given.workers} workers: {used} used")
    print(f"{copies} taken for copies")
    print(f"{seconds:.1f} s, {len(rows) / seconds:.1f} files/s")
    print(f"processor time: {1000 * spent / len(rows):.0f} ms a file, all processes together")
    print(f"10,000 files at this rate: {10_000 * seconds / len(rows) / 60:.1f} min")


if __name__ == "__main__":
    main()
