"""Edits of a sound: variations, new insides of regions, continuations, and other pitches."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.audio.dsp import below_full_scale
from audiogen.generators import Start, changed_sampling
from audiogen.limits import MAX_SEMITONES, MAX_WINDOWS
from audiogen.pipeline import Pipeline
from audiogen.seeds import later_seed
from audiogen.take_request import TakeRequest, Variation
from audiogen.takes.regions import find_regions
from audiogen.takes.sources import (
    STEM_CHARACTERS,
    EditRequest,
    Source,
    read_source,
    write_edit,
)
from audiogen.takes.splice import append, replace_region

BATCH = 8
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Task:
    """An edit under way: the model, the sound, and what is asked for."""

    pipeline: Pipeline
    source: Source
    request: EditRequest

    @classmethod
    def of(cls, run: Path, file: Path, request: EditRequest) -> _Task:
        pipeline = Pipeline.from_pretrained(run, device=request.device)
        return cls(pipeline=pipeline, source=read_source(file, pipeline), request=request)

    def request_for(self, seconds: float, seed: int) -> TakeRequest:
        """What new sound is asked for: the settings of the file, as they are changed."""
        own, changes = self.source.request, self.request
        sampling = self.pipeline.config.sample if own is None else own.sampling
        return TakeRequest(
            prompt=self.source.prompt if changes.prompt is None else changes.prompt,
            seconds=seconds,
            seed=seed,
            sampling=changed_sampling(
                sampling or self.pipeline.config.sample, {"steps": changes.steps}
            ),
            controls={} if own is None else own.controls,
        )

    def write(self, wav: Tensor, name: str, seed: int, **edit: Any) -> Path:
        return write_edit(
            self.pipeline,
            wav,
            f"{self.source.path.stem[:STEM_CHARACTERS]}-{name}",
            request=self.request_for(0.0, seed),
            edit=edit,
            sources=[self.source],
            out=self.request.out,
        )


def vary(
    run: Path, file: Path, request: EditRequest, *, amount: float, count: int = 1
) -> list[Path]:
    """Write sounds like `file`; `amount` 0 gives its own samples, 1 a new sound.

    The noise that a take of this model was made of is turned towards new noise by amount pi/2
    (as "retake" of ACE-Step does); its fine grain stays. Any other sound is covered with that
    much noise and made clean again (SDEdit; Meng et al. 2021).

    Raises:
        ValueError: an amount outside [0, 1], or a sound that is too short or too long.
    """
    if not 0 <= amount <= 1 or count < 1:
        raise ValueError(
            f"amount={amount:g}, count={count}: expected an amount of 0 (the same sound) to 1 (a"
            " new one), and at least one"
        )
    task = _Task.of(run, file, request)
    own = task.source.request
    seeds = [later_seed(request.seed, number) for number in range(count)]
    is_same = amount == 0 and (own is None or (request.prompt is None and request.steps is None))
    paths = []
    for first in range(0, count, BATCH):
        part = seeds[first : first + BATCH]
        if is_same:
            wavs = [task.source.wav] * len(part)
        elif own is not None:
            asked = task.request_for(own.seconds, own.seed)
            changes = {
                "prompt": asked.prompt,
                "sampling": asked.sampling,
                "variation": Variation(from_seed=own.seed, amount=amount),
            }
            wavs = task.pipeline.takes(
                [own.model_copy(update={**changes, "seed": seed}) for seed in part]
            )
        else:
            wavs = _vary_sound(task, part, amount)
        for seed, wav in zip(part, wavs, strict=True):
            path = task.write(
                wav,
                f"vary{amount:g}-seed{seed}",
                seed,
                operation="vary",
                amount=amount,
                from_seed=own and own.seed,
            )
            paths.append(path)
    return paths


def _vary_sound(task: _Task, seeds: Sequence[int], amount: float) -> list[Tensor]:
    """Sounds (C, T) like any file's, at its own level."""
    pipeline, source = task.pipeline, task.source
    spec, codec = pipeline.codec.spec, pipeline.codec
    seconds = source.wav.shape[1] / spec.sample_rate
    _check_length(pipeline, spec.num_frames(seconds))
    levelled, gain = source.levelled(spec.sample_rate)
    latents = codec.encode(levelled[None].to(codec.device)).expand(len(seeds), -1, -1)
    requests = [task.request_for(seconds, seed) for seed in seeds]
    made = pipeline.generator.sample(
        pipeline.conditions(requests),
        latents.shape[-1],
        sampling=requests[0].sampling or pipeline.config.sample,
        seeds=seeds,
        start=Start(latents=latents, level=amount),
    )
    decoded = codec.decode(made, seeds=seeds)[..., : source.wav.shape[1]].cpu()
    return [below_full_scale(wav / gain) for wav in decoded]


def inpaint(run: Path, file: Path, request: EditRequest, *, regions: Sequence[str]) -> Path:
    """Write `file` with new sound in `regions`; outside of them the samples stay as they are.

    Raises:
        ValueError: a region is not within the file, or hardly anything is left of it; or the
            model was trained without infill.
    """
    task = _Task.of(run, file, request)
    pipeline, wav = task.pipeline, task.source.wav
    spec = pipeline.codec.spec
    spans = find_regions(regions, wav.shape[1], spec.sample_rate)
    levelled, gain = task.source.levelled(spec.sample_rate)
    known = pipeline.codec.encode(levelled[None].to(pipeline.codec.device))
    keep = torch.ones(known.shape[-1], dtype=torch.bool)
    for start, stop in spans:  # a frame that is partly in a region is made anew
        keep[start // spec.hop_length : -(-stop // spec.hop_length)] = False
    if not bool(keep.any()):
        raise ValueError(
            f"{file}: the regions leave no whole latent frame ({1 / spec.frame_rate:.3f} s) of it;"
            " make a new take with `audiogen sample`"
        )
    new, offset = _filled(task, known, keep)
    for start, stop in spans:
        inside = new[:, start - offset : stop - offset] / gain
        wav = replace_region(wav, inside, start, spec.sample_rate)
    seconds = [[start / spec.sample_rate, stop / spec.sample_rate] for start, stop in spans]
    name, seed = f"inpaint-seed{request.seed}", request.seed
    return task.write(wav, name, seed, operation="inpaint", regions=seconds)


def extend(
    run: Path, file: Path, request: EditRequest, *, seconds: float, before: bool = False
) -> Path:
    """Write `file` with new sound behind it, or before it, to a length of `seconds`.

    The file's own samples stay as they are; what fades lies in the new part.

    Raises:
        ValueError: it is as long already, or too long; or the model was trained without infill.
    """
    task = _Task.of(run, file, request)
    wav, spec = task.source.wav, task.pipeline.codec.spec
    hop, rate = spec.hop_length, spec.sample_rate
    missing = spec.num_samples(seconds) - wav.shape[1] if math.isfinite(seconds) else 0
    if missing < 1:
        raise ValueError(
            f"{file}: lasts {wav.shape[1] / rate:.3f} s; --seconds {seconds:g} is the length to"
            " extend it to, and must be more"
        )
    latents, gain = _open_ended(task, before=before)  # whole frames of the file
    if before:
        fresh = -(-missing // hop)
        known = F.pad(latents, (fresh, 0))
    else:
        fresh = -(-spec.num_samples(seconds) // hop) - latents.shape[-1]
        known = F.pad(latents, (0, fresh))
    place = torch.arange(known.shape[-1])
    keep = place >= fresh if before else place < latents.shape[-1]
    new, offset = _filled(task, known, keep)
    if before:
        stop = fresh * hop - offset  # where the file begins
        part = new[:, stop - missing : stop] / gain
        wav = append(wav.flip(1), part.flip(1), rate).flip(1)
    else:
        start = wav.shape[1] - offset
        wav = append(wav, new[:, start : start + missing] / gain, rate)
    name, seed = f"extend-seed{request.seed}", request.seed
    return task.write(wav, name, seed, operation="extend", seconds=seconds, before=before)


def transpose(run: Path, file: Path, request: EditRequest, *, semitones: float) -> Path:
    """Write `file` at another pitch; its colour, its noise and its time stay.

    A take of this model is made again from its seed, any other sound goes through the codec.

    Raises:
        ValueError: the model's codec tells no pitch, or semitones that are out of range.
    """
    if not abs(semitones) <= MAX_SEMITONES:
        raise ValueError(f"semitones={semitones:g}: expected -{MAX_SEMITONES} to {MAX_SEMITONES}")
    task = _Task.of(run, file, request)
    pipeline, own = task.pipeline, task.source.request
    pipeline.check_transpose(semitones)
    if own is not None:
        asked = own.model_copy(update={"transpose": own.transpose + semitones})
        wav = pipeline.takes([asked])[0]
    else:
        codec = pipeline.codec
        levelled, gain = task.source.levelled(codec.spec.sample_rate)
        latents = codec.encode(levelled[None].to(codec.device))
        moved = codec.transposed(latents, semitones / 12)
        decoded = codec.decode(moved, seeds=[request.seed])[0].cpu()
        wav = below_full_scale(decoded[:, : task.source.wav.shape[1]] / gain)
    return task.write(
        wav,
        f"transpose{semitones:+g}",
        request.seed,
        operation="transpose",
        semitones=semitones,
        from_seed=own and own.seed,
    )


def _open_ended(task: _Task, *, before: bool) -> tuple[Tensor, float]:
    """Latents (1, D, L) of the file's whole frames, as if it went on, and the gain they need.

    It is reflected at the end that is to be continued: silence there would be heard as an ending.
    """
    codec, hop = task.pipeline.codec, task.pipeline.codec.spec.hop_length
    levelled, gain = task.source.levelled(codec.spec.sample_rate)
    whole = levelled.shape[1] // hop
    most = (levelled.shape[1] - 1) // hop
    margin = most if codec.encode_context is None else min(codec.encode_context, most)
    sides = (margin * hop, 0) if before else (0, margin * hop)
    wav = F.pad(levelled[None].to(codec.device), sides, mode="reflect")
    first = margin if before else 0
    return codec.encode(wav)[..., first : first + whole], gain


def _filled(task: _Task, known: Tensor, keep: Tensor) -> tuple[Tensor, int]:
    """Make the frames that are not kept; decode an excerpt (C, T) around them.

    Args:
        task: prompt, seed, sampling and model.
        known: latents (1, D, L).
        keep: (L,), True where they stay.

    Returns:
        The sound at the level of the latents, and at which sample of all it begins. Around what
        is made there is about half a training window, so that long files cost no more.
    """
    pipeline, seed = task.pipeline, task.request.seed
    spec, device = pipeline.codec.spec, pipeline.codec.device
    window, length = spec.num_frames(pipeline.config.clip_seconds), len(keep)
    open_frames = (~keep).nonzero().flatten()
    low = max(0, int(open_frames[0]) - window // 2)
    high = min(length, max(int(open_frames[-1]) + 1 + window // 2, low + window))
    low = max(0, min(low, high - window))
    _check_length(pipeline, high - low)
    seconds = (high - low) / spec.frame_rate
    is_whole = high - low == length <= window
    asked = task.request_for(seconds, seed)
    latents = pipeline.generator.sample(
        pipeline.conditions([asked], "whole" if is_whole else "slice"),
        high - low,
        sampling=asked.sampling or pipeline.config.sample,
        seeds=[seed],
        start=Start(latents=known[..., low:high].to(device), keep=keep[None, low:high].to(device)),
    )
    wav = pipeline.codec.decode(latents, seeds=[seed])[0].cpu()
    return wav, low * spec.hop_length


def _check_length(pipeline: Pipeline, num_frames: int) -> None:
    spec, window = pipeline.codec.spec, pipeline.config.clip_seconds
    if num_frames > MAX_WINDOWS * spec.num_frames(window):
        raise ValueError(
            f"{num_frames / spec.frame_rate:.1f} s are to be made at once, and this model makes"
            f" {MAX_WINDOWS * window:g} s at the most"
        )
