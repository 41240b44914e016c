"""How well a generator predicts recordings: bits per latent dimension, or per second of tokens."""

from __future__ import annotations

import math
from typing import Literal

import torch

from audiogen.clip_batch import clip_batch
from audiogen.data.loading.clips import thinned
from audiogen.data.manifest import read_split
from audiogen.evaluation.scores import Bits, Likelihood
from audiogen.experiment import ExperimentConfig
from audiogen.generators.abilities import PredictsLatents, PredictsTokens
from audiogen.generators.ode.likelihood import NOISE_LEVEL
from audiogen.nn.lowbit import WeightKind
from audiogen.pipeline import Pipeline

TOKEN_CLIPS = 256
"""Most clips of a split whose tokens are predicted; one pass of the network is cheap."""
Split = Literal["held_out", "train"]
SPLITS: tuple[Split, ...] = ("held_out", "train")
WEIGHTS: tuple[WeightKind, ...] = ("fp32", "bf16", "int8")


def density(config: ExperimentConfig, pipeline: Pipeline) -> Likelihood | None:
    """How well held-out clips, if any, and training clips are predicted, given their prompts.

    None for generators without a density, and where `evaluate.likelihood_clips` is 0. A few-step
    model has none: it jumps to the end of a path, and is no denoiser any more.
    """
    generator = pipeline.generator
    if config.evaluate.likelihood_clips == 0:
        return None
    if isinstance(generator, PredictsTokens):
        return _of_tokens(config, pipeline, generator)
    if isinstance(generator, PredictsLatents) and config.distil is None:
        return _of_latents(config, pipeline, generator)
    return None


def _of_latents(
    config: ExperimentConfig, pipeline: Pipeline, generator: PredictsLatents
) -> Likelihood:
    """Mean bits per latent dimension; every clip is an ODE to solve, so there are few."""
    found, wanted_std = {}, pipeline.codec.wanted_std
    for split in SPLITS:
        rows = thinned(read_split(config.run.manifest, split), config.evaluate.likelihood_clips)
        if not rows:
            continue
        clips = clip_batch(pipeline, config.sounds, rows)
        bits = generator.bits_per_dimension(clips, seeds=range(len(rows)))
        spread = float(bits.std(correction=0))
        found[split] = Bits(mean=float(bits.mean()), std=spread, clips=len(rows))
    return Likelihood(
        per="latent dimension",
        held_out=found.get("held_out"),
        train=found["train"],
        structureless=0.5 * math.log2(2 * math.pi * math.e) + float(wanted_std.log2().mean()),
        noise_level=NOISE_LEVEL,
    )


def _of_tokens(
    config: ExperimentConfig, pipeline: Pipeline, generator: PredictsTokens
) -> Likelihood:
    """Exact bits per second of audio, and the perplexity of each codebook.

    For held-out clips also the bits with the Transformer's weights in fewer bits.
    """
    found, reduced = {}, dict[str, float]()
    spec = pipeline.codec.spec
    for split in SPLITS:
        rows = thinned(read_split(config.run.manifest, split), TOKEN_CLIPS)
        if not rows:
            continue
        clips = clip_batch(pipeline, config.sounds, rows)
        frames = clips.mask.sum(dim=1)
        for weights in WEIGHTS if split == "held_out" else WEIGHTS[:1]:
            parts = clips.pieces(config.evaluate.batch_size)
            likelihood = torch.cat(
                [generator.log_likelihood(part, weights=weights) for part in parts]
            )
            bits = -likelihood.sum(dim=1) / math.log(2) / frames * spec.frame_rate
            mean = float((bits * frames).sum() / frames.sum())
            if weights != "fp32":
                reduced[weights] = mean
                continue
            found[split] = Bits(
                mean=mean,
                std=float(bits.std(correction=0)),
                clips=len(rows),
                perplexity=tuple((-likelihood.sum(dim=0) / frames.sum()).exp().tolist()),
            )
    return Likelihood(
        per="second of sound",
        held_out=found.get("held_out"),
        train=found["train"],
        structureless=spec.bits_per_second(),
        held_out_with=reduced,
    )
