"""Morphs: sounds between two sounds."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.audio.dsp import below_full_scale
from audiogen.generators import Start
from audiogen.pipeline import Pipeline
from audiogen.seeds import noise_source
from audiogen.take_request import TakeRequest
from audiogen.takes.sources import EditRequest, Source, read_source, write_edit
from audiogen.types import Conditions

LEVEL = 0.6
"""Noise over the mixed latents of sounds that have no seed; less leaves both to be heard, more
leaves neither."""
BATCH = 8
_log = logging.getLogger(__name__)


def morph(run: Path, first: Path, second: Path, request: EditRequest, *, count: int) -> list[Path]:
    """Write `count` sounds from `first` to `second`, both ends included.

    Between takes of this model, noise and prompt go from the one to the other. Other sounds are
    mixed as latents, covered with noise and made clean again; their ends are their own samples.

    Raises:
        ValueError: fewer than two sounds are asked for, or a file cannot be used.
    """
    if count < 2:
        raise ValueError(f"a morph has at least two sounds, its ends; got {count}")
    pipeline = Pipeline.from_pretrained(run, device=request.device)
    sources = [read_source(path, pipeline) for path in (first, second)]
    weights = [number / (count - 1) for number in range(count)]
    ends = [source.prompt if request.prompt is None else request.prompt for source in sources]
    start, stop = (source.request for source in sources)
    if start is not None and stop is not None and _fit(start, stop):
        if start.batch_key != stop.batch_key:
            text = "sampling, negative prompt and controls are those of %s"
            _log.info(text, first.name)
        asked = [
            start.model_copy(update={"prompt": end, "seed": one.seed})
            for one, end in zip((start, stop), ends, strict=True)
        ]
        wavs = morph_takes(pipeline, asked, weights)
    else:
        asked = [TakeRequest(prompt=end, seconds=0, seed=request.seed) for end in ends]
        wavs = _morph_sounds(pipeline, sources, asked, weights)
    return [
        write_edit(
            pipeline,
            wav,
            f"morph-{number:02d}",
            request=asked[round(weight)],
            edit={
                "operation": "morph",
                "weight": weight,
                "prompts": ends,
                "seeds": [one.seed for one in asked],
            },
            sources=sources,
            out=request.out,
        )
        for number, (weight, wav) in enumerate(zip(weights, wavs, strict=True))
    ]


def morph_takes(
    pipeline: Pipeline, ends: Sequence[TakeRequest], weights: Sequence[float]
) -> list[Tensor]:
    """Sounds (C, T) between two takes: 0 is the first of them, 1 the second.

    Args:
        pipeline: The model that made both takes.
        ends: What the two were made of, alike but for prompt and seed.
        weights: Where the sounds lie between them, from 0 to 1.
    """
    spec, frames = pipeline.codec.spec, ends[0].num_frames(pipeline.codec.spec)
    noise = noise_source("start", [one.seed for one in ends], spec.channels, [frames] * 2)()
    conditions = between(pipeline.conditions(ends), weights)
    wavs: list[Tensor] = []
    for begin in range(0, len(weights), BATCH):
        part = weights[begin : begin + BATCH]
        wavs += pipeline.render(
            [ends[round(weight)] for weight in part],  # whose seed gives the fine grain
            conditions[begin : begin + BATCH],
            start=Start(noise=torch.stack([slerp(noise[0], noise[1], one) for one in part])),
        )
    return wavs


def _morph_sounds(
    pipeline: Pipeline,
    sources: Sequence[Source],
    asked: Sequence[TakeRequest],
    weights: Sequence[float],
) -> list[Tensor]:
    """Sounds (C, T) between two of any origin, at levels between theirs."""
    codec, spec = pipeline.codec, pipeline.codec.spec
    length = min(source.wav.shape[1] for source in sources)
    for source in sources:
        if source.wav.shape[1] > length:
            text = "%s: only its first %.3f s are used, the length of the other sound"
            _log.info(text, source.path.name, length / spec.sample_rate)
    cut = [replace(source, wav=source.wav[:, :length]) for source in sources]
    levelled = [source.levelled(spec.sample_rate) for source in cut]
    ends = [codec.encode(wav[None].to(codec.device))[0] for wav, _ in levelled]
    inner = weights[1:-1]
    seconds = length / spec.sample_rate
    both = pipeline.conditions([one.model_copy(update={"seconds": seconds}) for one in asked])
    wavs = []
    for begin in range(0, len(inner), BATCH):
        part = inner[begin : begin + BATCH]
        seeds = [asked[0].seed] * len(part)  # one noise, so that neighbours are alike
        mixed = torch.stack([slerp(ends[0], ends[1], weight) for weight in part])
        latents = pipeline.generator.sample(
            between(both, part),
            mixed.shape[-1],
            sampling=pipeline.config.sample,
            seeds=seeds,
            start=Start(latents=mixed, level=LEVEL),
        )
        for weight, wav in zip(part, codec.decode(latents, seeds=seeds).cpu(), strict=True):
            gain = levelled[0][1] ** (1 - weight) * levelled[1][1] ** weight
            wavs.append(below_full_scale(wav[:, :length] / gain))
    return [cut[0].wav, *wavs, cut[1].wav]


def between(ends: Conditions, weights: Sequence[float]) -> Conditions:
    """Conditions between those of two items; weights of 0 and 1 give the ends themselves.

    The pooled vector turns from the one to the other. The shorter prompt's tokens are stretched
    to the number of the other's, each standing for its neighbours, and token by token they are
    mixed; a prompt without tokens gives way half-way.
    """
    tokens = [text[mask] for text, mask in zip(ends.text, ends.text_mask, strict=True)]
    longest = max(len(one) for one in tokens)
    mixed = []
    for weight in weights:
        near = tokens[round(weight)]
        if 0 < weight < 1 and all(len(one) for one in tokens):
            places = torch.arange(longest, device=ends.text.device)
            spread = [one[places * len(one) // longest] for one in tokens]
            near = torch.lerp(spread[0], spread[1], weight)
        mixed.append(near)
    room = max(longest, 1)
    counts = torch.tensor([len(one) for one in mixed], device=ends.text.device)
    return Conditions(
        text=torch.stack([F.pad(one, (0, 0, 0, room - len(one))) for one in mixed]),
        text_mask=torch.arange(room, device=ends.text.device)[None] < counts[:, None],
        pooled=torch.stack([slerp(ends.pooled[0], ends.pooled[1], one) for one in weights]),
        controls={name: value[:1].expand(len(weights)) for name, value in ends.controls.items()},
    )


def slerp(first: Tensor, second: Tensor, weight: float) -> Tensor:
    """Spherical interpolation of two tensors of one shape (Shoemake 1985).

    Between independent noises it is noise of the same variance; 0 and 1 give the ends exactly.
    """
    size = float(first.norm() * second.norm())
    cosine = float((first * second).sum()) / size if size > 0 else 1.0
    angle = math.acos(min(1.0, max(-1.0, cosine)))
    if math.sin(angle) < 1e-4:  # the same direction, or none
        return torch.lerp(first, second, weight)
    near, far = (math.sin(part * angle) / math.sin(angle) for part in (1 - weight, weight))
    return near * first + far * second


def _fit(first: TakeRequest, second: TakeRequest) -> bool:
    """Whether two takes have noises of one shape; the log says when not."""
    if (first.seconds, first.loop) == (second.seconds, second.loop):
        return True
    _log.info("takes of different length or kind: their sounds are mixed, not their seeds")
    return False
