"""Put a finished model among those that come with audiogen.

    python tools/ship.py RUN NAME [--limits FILE.md]

FILE.md says what the model does badly; it becomes a part of the card.

Its matrices are written in bfloat16. What that changes is printed: how far takes are from those of
the model itself, for the same prompts and seeds, beside how far two seeds of a prompt are.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from audiogen import library
from audiogen.audio.measure.texture_features import log_mel
from audiogen.pipeline import Pipeline
from audiogen.provenance.card import CARD_FILE
from audiogen.storage import publish_folder

MOST_MB = 45.0
NUM_PROMPTS = 8
"""Labels that are compared, the most frequent ones."""
SECONDS = 5.0
LICENCE = """
## Licence

The weights are under CC-BY-4.0. Sounds under CC-BY ask to be credited; so that the credit travels
with what is made of the weights, the weights ask for it, too: credit audiogen, and keep
ATTRIBUTION.csv. audiogen claims nothing on sounds that the model makes.
"""


def ship(run: Path, name: str, limits: str = "") -> None:
    """Write the model of a run into the library; SystemExit when it is too large, or has no words.

    A model of that name that is there stays until the new one is whole.
    """
    whole = Pipeline.from_pretrained(run)
    words, source = whole.model.vocabulary, whole.model.folder
    if words is None or source is None or not words.labels:
        raise SystemExit(f"{run}: its words were not counted; train it again")
    card = (source / CARD_FILE).read_text(encoding="utf-8") + limits + LICENCE
    with TemporaryDirectory() as place:
        trial = Path(place) / name
        whole.save_pretrained(trial, {CARD_FILE: card}, dtype=torch.bfloat16)
        size = sum(file.stat().st_size for file in trial.rglob("*") if file.is_file()) / 1e6
        if size > MOST_MB:
            raise SystemExit(f"{run}: {size:.1f} MB, and a model here has {MOST_MB:g} MB at most")
        narrow, prompts = Pipeline.from_pretrained(trial), list(words.labels)[:NUM_PROMPTS]
        first, again = (_takes(whole, prompts, seed) for seed in (0, 1))
        rounded = _distance(first, _takes(narrow, prompts, 0))
        print(f"takes of bfloat16 weights: {rounded:.2f} dB away")
        print(f"takes of another seed:     {_distance(first, again):.2f} dB away")
        with publish_folder(library.LIBRARY / name) as folder:
            shutil.copytree(trial, folder, dirs_exist_ok=True)
    print(f"{library.LIBRARY / name}: {size:.1f} MB, model {narrow.digest}")


def _takes(pipeline: Pipeline, prompts: Sequence[str], seed: int) -> list[Tensor]:
    """The log-mel spectra of a take of each prompt, in dB."""
    wavs = pipeline(prompts, seconds=SECONDS, seeds=[seed] * len(prompts))
    rate = pipeline.codec.spec.sample_rate
    return [log_mel(wav.numpy(), rate, num_bands=80, n_fft=2048, hop=512) for wav in wavs]


def _distance(some: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """Mean distance of spectra."""
    pairs = zip(some, others, strict=True)
    return float(torch.stack([(one - other).abs().mean() for one, other in pairs]).mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("name", help="what the model is to be called")
    parser.add_argument("--limits", type=Path, help="Markdown")
    given = parser.parse_args()
    said = given.limits.read_text(encoding="utf-8") if given.limits else ""
    ship(given.run, given.name, said)
