"""What a model expects of a label before any noise is undone, beside what its sounds are.

    python tools/bench/first_step.py RUN [MODEL ...]

RUN is a run folder, whose training clips and labels are used. A MODEL is a run or a model folder of
diffusion or flow on the same codec; without one it is RUN's.

At a level of noise near 1 nothing is known of a sound but its prompt, so that the clean latents
which a model expects are the mean of the sounds that it is for. Here they are averaged over time,
and compared with the mean latents of the label's clips, both as deviations from the mean of all
labels. "slope" is how much of a label's deviation the model expects (1 is all of it; labels whose
clips are few deviate by chance, too), "correlation" how well the directions agree. A model that has
not learnt it at the first level of its sampler lets the noise decide the kind of sound.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from timing import machine, write_figures
from torch import Tensor

from audiogen.codecs import Codec, load_codec
from audiogen.data.loading.clips import read_beginning
from audiogen.data.manifest import read_split
from audiogen.experiment import load_config
from audiogen.generators.ode.denoiser import Denoiser
from audiogen.generators.ode.scene import Scene
from audiogen.pipeline import Pipeline
from audiogen.seeds import normal, numbers_of
from audiogen.take_request import TakeRequest

LEVELS = (1.0, 0.98, 0.95)
CLIPS, LEAST_CLIPS, SEEDS = 8, 4, 8


@torch.no_grad()
def label_means(run: Path, codec: Codec) -> dict[str, Tensor]:
    """Mean latents (D,) of the first window of the clips of each label that has a few."""
    config, hop = load_config(run), codec.spec.hop_length
    seconds = config.data.clip_seconds
    clips: dict[str, list[Tensor]] = {}
    for row in read_split(config.run.manifest, "train"):
        found = clips.setdefault(row.label, [])
        if row.label and len(found) < CLIPS and row.seconds >= seconds / 2:
            wav = read_beginning(config.sounds, row, codec.spec, seconds)
            frames = codec.encode(wav[None, :, : wav.shape[1] // hop * hop])
            found.append(frames[0].mean(dim=1))
    return {
        label: torch.stack(means).mean(dim=0)
        for label, means in clips.items()
        if len(means) >= LEAST_CLIPS
    }


@torch.no_grad()
def expected(pipeline: Pipeline, labels: Sequence[str], level: float) -> Tensor:
    """Mean over time and noises of the clean latents that are expected of labels: (N, D)."""
    generator, spec = pipeline.generator, pipeline.codec.spec
    if not isinstance(generator, Denoiser):
        raise SystemExit("first_step: a model of diffusion or flow is needed")
    seconds = pipeline.config.clip_seconds
    requests = [TakeRequest(prompt=label, seconds=seconds, seed=0) for label in labels]
    mask = torch.ones(len(labels), spec.num_frames(seconds), dtype=torch.bool)
    context = generator.conditioner(pipeline.conditions(requests))
    scene = Scene(context=context, mask=mask)
    time = generator.time_at(torch.tensor(level))
    total = torch.zeros(len(labels), spec.channels)
    for seed in range(SEEDS):
        noise = normal(numbers_of("start", seed), spec.channels, mask.shape[1])
        noisy = (time * noise).expand(len(labels), -1, -1)
        total += generator.denoise(noisy, time.expand(len(labels)), scene).mean(dim=2)
    return total / SEEDS


def main() -> None:
    """Print a row for each model, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    means = label_means(given.run, load_codec(load_config(given.run).run.model("codec")))
    real = torch.stack(list(means.values()))
    real = real - real.mean(dim=0)
    rows = []
    print(f"{len(means)} labels; slope and correlation at each level of noise")
    for model in given.models or [given.run]:
        pipeline = Pipeline.from_pretrained(model)
        for level in LEVELS:
            found = expected(pipeline, list(means), level)
            found = found - found.mean(dim=0)
            both = float((found * real).sum())
            slope = both / float(real.square().sum())
            correlation = both / float(real.norm() * found.norm())
            figures = {"level": level, "slope": slope, "correlation": correlation}
            rows.append({"model": str(model), **figures})
            print(f"{str(model)[-40:]:<40} {level:>5.2f} {slope:>6.2f} {correlation:>6.2f}")
    if given.out is not None:
        write_figures(given.out, {"machine": machine(), "labels": len(means), "rows": rows})


if __name__ == "__main__":
    main()
