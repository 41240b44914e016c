"""Draw the takes of a run as a sheet of spectrograms: `python tools/picture.py RUN OUT.png`."""

from __future__ import annotations

import argparse
from pathlib import Path

from audiogen.audio.io.files import read_audio
from audiogen.pages.pictures import sheet_png, spectrogram
from audiogen.run_folder import RunFolder
from audiogen.takes.take import read_take


def draw(run: Path, out: Path, per_label: int) -> None:
    """Write the sheet: a row per label, `per_label` takes in a row."""
    takes: dict[str, list[Path]] = {}
    for path in sorted(RunFolder(run).evaluated_takes.glob("*.wav")):
        take = read_take(path)
        if take is not None:
            takes.setdefault(take.label or take.prompt, []).append(path)
    if not takes:
        raise SystemExit(f"{run}: no takes; run `audiogen evaluate` first")
    images, captions = [], []
    columns = min(per_label, *map(len, takes.values()))
    for label, paths in sorted(takes.items()):
        for path in paths[:columns]:
            wav, rate = read_audio(path)
            images.append(spectrogram(wav, rate, width=256))
            captions.append((label, f"{wav.shape[1] / rate:.2f} s"))
    out.write_bytes(sheet_png(images, captions, columns=columns))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--per-label", type=int, default=4)
    given = parser.parse_args()
    draw(given.run, given.out, given.per_label)
