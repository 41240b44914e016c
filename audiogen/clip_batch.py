"""Recordings as a generator meets them: the first window of each, encoded, with its conditions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from audiogen.conditioning.controls import make_controls
from audiogen.data.loading.examples import drawn
from audiogen.data.loading.latents import encode_rows
from audiogen.data.manifest import ManifestRow
from audiogen.pipeline import Pipeline
from audiogen.seeds import numbers_of
from audiogen.types import Batch, Conditions


def clip_batch(pipeline: Pipeline, folder: Path, rows: Sequence[ManifestRow]) -> Batch:
    """Encode the first window of each file, and draw what the codec leaves open.

    What is drawn is the same for a file each time. Controls are those of length and role alone.

    Args:
        pipeline: of the generator and its codec.
        folder: of the sounds.
        rows: of the files, at least one.

    Returns:
        On the codec's device: latents (B, D | K, W), whose frames behind a short file are masked.
    """
    codec, window = pipeline.codec, pipeline.generator.window_frames
    items = list(encode_rows(folder, rows, codec, min_frames=window))
    frames = [min(item.num_frames, window) for item in items]
    mask = torch.arange(window)[None] < torch.tensor(frames)[:, None]
    states = pipeline.text([row.prompt or row.label for row in rows])
    controls = make_controls(
        seconds=[number / codec.spec.frame_rate for number in frames],
        roles=["slice" if item.num_frames > window else item.row.role for item in items],
    )
    conditions = Conditions(
        text=states.states, text_mask=states.mask, pooled=states.pooled, controls=controls
    )
    open_std = None if codec.open_std is None else codec.open_std.cpu()
    latents = [
        drawn(item.latents[:, :window], open_std, numbers_of("likelihood", 0, item.row.path))
        for item in items
    ]
    batch = Batch(latents=torch.stack(latents), mask=mask, conditions=conditions)
    return batch.to(codec.device)
