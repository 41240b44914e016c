"""How well a generator predicts the latents of recordings: bits per latent dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from audiogen.conditioning.controls import make_controls
from audiogen.data.latents import encode_files, prompts_of
from audiogen.data.manifest import ManifestRow
from audiogen.experiment import ExperimentConfig
from audiogen.generators.likelihood import NOISE_LEVEL, bits_per_dimension
from audiogen.generators.ode import ODEGenerator
from audiogen.pipeline import Pipeline
from audiogen.types import Conditions

TOLERANCE = 3e-3
"""Of the solver; a hundredth of a bit, while clips differ by tenths."""


def density(config: ExperimentConfig, pipeline: Pipeline) -> dict[str, Any]:
    """Mean bits per latent dimension of held-out and of training clips, given their prompts.

    Empty for generators that have no such density, and where `evaluate.likelihood_clips` is 0. A
    few-step model has none: it jumps to the end of a path, and is no denoiser any more.
    """
    generator, count = pipeline.generator, config.evaluate.likelihood_clips
    if not isinstance(generator, ODEGenerator) or config.distil is not None or count == 0:
        return {}
    found: dict[str, Any] = {"noise_level": NOISE_LEVEL}
    for split in ("held_out", "train"):
        rows = config.rows("held_out" if split == "held_out" else "train")
        few = rows[:: -(-len(rows) // count)]
        bits = _bits(config, pipeline, generator, few)
        found[split] = float(bits.mean())
        found[f"{split}_std"] = float(bits.std(correction=0))
        found[f"{split}_clips"] = len(few)
    return {"bits_per_dimension": found}


def _bits(
    config: ExperimentConfig,
    pipeline: Pipeline,
    generator: ODEGenerator,
    rows: Sequence[ManifestRow],
) -> torch.Tensor:
    """Bits per dimension (B,) of the first window of each file."""
    codec, window = pipeline.codec, generator.window_frames
    items = list(encode_files(config.sounds, rows, codec, min_frames=window))
    frames = [min(item.num_frames, window) for item in items]
    mask = torch.arange(window)[None] < torch.tensor(frames)[:, None]
    states = pipeline.text([prompts_of(row)[0] for row in rows])
    controls = make_controls(
        seconds=[number / codec.spec.frame_rate for number in frames],
        roles=["slice" if item.num_frames > window else item.row.role for item in items],
    )
    conditions = Conditions(
        text=states.states, text_mask=states.mask, pooled=states.pooled, controls=controls
    )
    return bits_per_dimension(
        generator,
        torch.stack([item.latents[:, :window] for item in items]).to(codec.device),
        mask.to(codec.device),
        conditions.to(codec.device),
        seeds=range(len(items)),
        rtol=TOLERANCE,
        atol=TOLERANCE,
    )
