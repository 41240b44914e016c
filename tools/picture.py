"""Draw takes as a sheet of spectrograms: `python tools/picture.py RUN OUT.png`.

RUN is an evaluated run, or a folder of takes, such as one of `audiogen sample --out`. With
`--beside 8`, eight held-out recordings of the label stand to the right of a run's takes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from torch import Tensor

from audiogen.audio.io.files import read_audio
from audiogen.data.manifest import read_split
from audiogen.evaluation.material import real_sounds
from audiogen.experiment import load_config
from audiogen.pages.pictures import sheet_png, spectrogram
from audiogen.pipeline import Pipeline
from audiogen.run_folder import RunFolder
from audiogen.takes.take import read_take


def draw(run: Path, out: Path, per_label: int, beside: int) -> None:
    """Write the sheet: a row per label, of `per_label` takes and `beside` recordings."""
    takes: dict[str, list[tuple[Tensor, int]]] = {}
    evaluated = RunFolder(run).evaluated_takes
    for path in sorted((evaluated if evaluated.is_dir() else run).glob("*.wav")):
        take = read_take(path)
        if take is not None:
            takes.setdefault(take.label or take.prompt, []).append(read_audio(path))
    if not takes:
        raise SystemExit(f"{run}: no takes; run `audiogen evaluate` or `audiogen sample` first")
    columns = min(per_label, *map(len, takes.values()))
    rows = {label: sounds[:columns] for label, sounds in sorted(takes.items())}
    if beside:
        clips = _held_out(run)
        lacking = [label for label in rows if len(clips.get(label, [])) < beside]
        if lacking:
            raise SystemExit(f"{run}: fewer than {beside} recordings held out of {lacking[0]}")
        rows = {label: sounds + clips[label][:beside] for label, sounds in rows.items()}
    images, captions = [], []
    for label, sounds in rows.items():
        for place, (wav, rate) in enumerate(sounds):
            images.append(spectrogram(wav, rate, width=256))
            kind = "take" if place < columns else "real"
            below = f"{kind}, {_length(wav, rate)}" if beside else _length(wav, rate)
            captions.append((label, below))
    cell = (1.3, 0.9) if beside else (2.6, 1.5)
    out.write_bytes(sheet_png(images, captions, columns=columns + beside, cell=cell))


def _held_out(run: Path) -> dict[str, list[tuple[Tensor, int]]]:
    """Recordings that the run never heard, by label, as its codec takes them."""
    config, spec = load_config(run), Pipeline.from_pretrained(run).codec.spec
    rows = read_split(RunFolder(run).manifest, "held_out")
    sounds = real_sounds(config, spec, rows, len(rows))
    found: dict[str, list[tuple[Tensor, int]]] = {}
    for wav, label in zip(sounds.wavs, sounds.labels, strict=True):
        found.setdefault(label, []).append((wav, spec.sample_rate))
    return found


def _length(wav: Tensor, rate: int) -> str:
    return f"{wav.shape[1] / rate:.2f} s"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--per-label", type=int, default=4)
    parser.add_argument("--beside", type=int, default=0, help="recordings of each label")
    given = parser.parse_args()
    draw(given.run, given.out, given.per_label, given.beside)
