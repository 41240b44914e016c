"""From specs to takes: one batch of the model, and loops whose seam is heard once more."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.audio.dsp import resample
from audiogen.audio.io.files import write_audio
from audiogen.audio.loops import Seam, measure_seam, resample_ring
from audiogen.generators import Start
from audiogen.pipeline import Pipeline, loop_frames
from audiogen.seeds import VARIATION_STREAM, noise_source
from audiogen.takes.sidecar import take_sidecar
from audiogen.takes.spec import TakeSpec
from audiogen.takes.splice import below_full_scale

MAX_REMAKES = 8
"""How often a loop whose seam is heard is made again, at most."""
REMAKE_STEP = 1_000_000
"""From a loop's seed to that of its next try: which seed stands in for which does not depend on
what else is made."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Made:
    """A take that can be written.

    Attributes:
        spec: what it was made of; the seed is another than the one asked for where a loop was
            made again.
        wav: (C, T), at the spec's rate, or the model's where it has none.
        seam: of a loop.
        tries: how many loops were made for it.
        batch: all that was made with it at once, itself included.
        place: its place in `batch`.
    """

    spec: TakeSpec
    wav: Tensor
    seam: Seam | None
    tries: int
    batch: Sequence[TakeSpec]
    place: int


def shared_settings(spec: TakeSpec) -> tuple[object, ...]:
    """What takes that are made in one batch have in common."""
    one_length = spec.loop or spec.to_end or spec.variation is not None or spec.begins_as
    return (
        spec.sampling,
        spec.negative_prompt,
        spec.loop,
        spec.to_end,
        spec.seconds if one_length else None,
        spec.variation,
        spec.begins_as,
        spec.rate,
        tuple(sorted(spec.controls.items())),
        spec.prompt if spec.variation is not None else None,
    )


def batches(specs: Iterable[TakeSpec], size: int) -> list[list[TakeSpec]]:
    """Put what fits together into batches of `size`, in the order in which it comes."""
    groups: dict[tuple[object, ...], list[TakeSpec]] = {}
    for spec in specs:
        groups.setdefault(shared_settings(spec), []).append(spec)
    return [
        group[first : first + size]
        for group in groups.values()
        for first in range(0, len(group), size)
    ]


def make_batch(pipeline: Pipeline, specs: Sequence[TakeSpec]) -> list[Tensor]:
    """Sound (C, T) of each spec of one batch; of the same batch always the same samples.

    Raises:
        ValueError: they do not share what a batch has in common, or a length is out of range.
    """
    if len({shared_settings(spec) for spec in specs}) != 1:
        raise ValueError(f"expected one batch of takes alike in settings, got {len(specs)} others")
    sounds = _model_sounds(pipeline, specs)
    return [
        at_rate(wav, pipeline.codec.spec.sample_rate, spec)
        for wav, spec in zip(sounds, specs, strict=True)
    ]


def at_rate(wav: Tensor, sample_rate: int, spec: TakeSpec) -> Tensor:
    """The model's sound (C, T) at the rate of a spec, below full scale; itself where it has none.

    A loop is brought there as a ring, so that its seam stays; other takes by soxr.
    """
    if spec.rate is None or spec.rate == sample_rate:
        return wav
    if not spec.loop:
        return below_full_scale(resample(wav, sample_rate, spec.rate))
    return below_full_scale(resample_ring(wav, round(spec.seconds * spec.rate)))


def take_rate(pipeline: Pipeline, spec: TakeSpec) -> int:
    """Hz of the take of a spec."""
    return spec.rate or pipeline.codec.spec.sample_rate


def _model_sounds(pipeline: Pipeline, specs: Sequence[TakeSpec]) -> list[Tensor]:
    """Sounds of one batch, at the model's rate."""
    first = specs[0]
    prompts, seeds = [spec.prompt for spec in specs], [spec.seed for spec in specs]
    negative, sampling = first.negative_prompt, first.sampling
    if first.variation is not None:
        return vary_take(pipeline, first, seeds)
    if first.to_end:
        return pipeline.takes_to_end(
            prompts,
            max_seconds=first.seconds,
            seeds=seeds,
            sampling=sampling,
            negative_prompt=negative,
            controls=first.controls,
        )
    if first.loop:
        turns = pipeline.loops(
            prompts,
            seconds=first.seconds,
            seeds=seeds,
            sampling=sampling,
            negative_prompt=negative,
            controls=first.controls,
        )
        return list(turns)
    start = None
    if first.begins_as is not None:
        start = Start(noise=_grown_noise(pipeline, first, seeds))
    return pipeline.takes(
        prompts,
        seconds=[spec.seconds for spec in specs],
        seeds=seeds,
        sampling=sampling,
        negative_prompt=negative,
        controls=first.controls,
        start=start,
    )


def _grown_noise(pipeline: Pipeline, spec: TakeSpec, seeds: Sequence[int]) -> Tensor:
    """Noise (B, D, L) that begins as that of shorter takes of the same seeds.

    A seed's noise of another length is other noise from the first frame on.
    """
    latents = pipeline.codec.spec
    before = min(latents.num_frames(spec.begins_as or 0), latents.num_frames(spec.seconds))
    longer = latents.num_frames(spec.seconds)
    noise = noise_source(seeds, latents.channels, [longer] * len(seeds))()
    noise[..., :before] = noise_source(seeds, latents.channels, [before] * len(seeds))()
    return noise


def make_takes(pipeline: Pipeline, specs: Sequence[TakeSpec]) -> list[Made]:
    """Make one batch of takes, and loops whose seam is heard again, at most eight times.

    If none of a loop's seams passes, the best is kept; the log says so. What has a rate of its own
    is a take that was chosen before, and keeps its seed. Errors as of `make_batch`.
    """
    best: dict[int, Made] = {}
    left = dict(enumerate(specs))
    for tries in range(1, MAX_REMAKES + 2):
        batch = list(left.values())
        sounds = make_batch(pipeline, batch)
        for place, (slot, wav) in enumerate(zip(tuple(left), sounds, strict=True)):
            spec = left[slot]
            seam = measure_seam(wav, take_rate(pipeline, spec)) if spec.loop else None
            made = Made(spec=spec, wav=wav, seam=seam, tries=tries, batch=batch, place=place)
            kept = best[slot] = _better(best.get(slot), made)
            if seam is None or seam.passes or spec.rate is not None:
                del left[slot]
            elif tries <= MAX_REMAKES:
                left[slot] = replace(spec, seed=spec.seed + REMAKE_STEP)
                text = "seed %d -> %d: the seam was heard (%.60s)"
                _log.info(text, spec.seed, left[slot].seed, spec.prompt)
            else:
                text = "seed %d: the seam is heard in each of %d takes; that of seed %d is kept"
                _log.warning(text, specs[slot].seed, tries, kept.spec.seed)
        if not left:
            break
    return [best[slot] for slot in range(len(specs))]


def write_take(
    pipeline: Pipeline, made: Made, path: Path, extra: Mapping[str, Any] | None = None
) -> None:
    """Write a take as 24-bit WAV with a JSON sidecar of all that is needed to make it again.

    Args:
        pipeline: that made it.
        made: the take.
        path: of the WAV; what is there is replaced.
        extra: more that the sidecar tells.
    """
    spec, model_rate = made.spec, pipeline.codec.spec.sample_rate
    rate = take_rate(pipeline, spec)
    seconds = made.wav.shape[1] / rate if spec.to_end else spec.seconds
    sidecar = take_sidecar(pipeline, spec.prompt, spec.seed, seconds, spec.sampling)
    if spec.rate is not None:
        by = "the spectrum of the ring" if spec.loop else "soxr"
        sidecar |= {"sample_rate": rate, "resampled": {"from": model_rate, "to": rate, "by": by}}
    if spec.to_end:
        sidecar["ended_within_seconds"] = spec.seconds
    if spec.negative_prompt:
        sidecar["negative_prompt"] = spec.negative_prompt
    if spec.controls:
        sidecar["controls"] = dict(spec.controls)
    if made.seam is not None:
        tempo = {} if spec.tempo is None else asdict(spec.tempo)
        sidecar["loop"] = {"samples": made.wav.shape[1], **tempo}
        sidecar["seam"] = seam_report(made.seam)
    if spec.variation is not None:
        sidecar["variation"] = asdict(spec.variation)
    if spec.begins_as is not None:
        sidecar["begins_as"] = spec.begins_as
    if len(made.batch) > 1:  # its last bits depend on the shape of the batch
        takes = [[one.prompt, one.seed, one.seconds] for one in made.batch]
        sidecar["batch"] = {"place": made.place, "takes": takes}
    sidecar["made_with"] = {"torch": torch.__version__, "device": pipeline.codec.device.type}
    write_audio(path, made.wav, rate, sidecar={**sidecar, **(extra or {})})


def vary_take(pipeline: Pipeline, spec: TakeSpec, seeds: Sequence[int]) -> list[Tensor]:
    """Sounds (C, T) like a take, one for each of the new `seeds`.

    The noise that the take was made of is turned towards new noise by amount pi/2 (as "retake" of
    ACE-Step does); its fine grain stays.

    Args:
        pipeline: that made the take.
        spec: with a variation: the take's seed and how far from it; prompt and sampling may be
            others than the take's.
        seeds: of the noise that the take's own is turned towards.
    """
    if spec.variation is None:
        raise ValueError("vary_take: the spec has no variation")
    own_seed, angle = spec.variation.from_seed, spec.variation.amount * math.pi / 2
    latents, count = pipeline.codec.spec, len(seeds)
    frames = loop_frames(latents, spec.seconds) if spec.loop else latents.num_frames(spec.seconds)
    own = noise_source([own_seed], latents.channels, [frames])()
    others = [seed + VARIATION_STREAM for seed in seeds]
    new = noise_source(others, latents.channels, [frames] * count)()
    start = Start(noise=math.cos(angle) * own + math.sin(angle) * new)
    prompts, own_seeds = [spec.prompt] * count, [own_seed] * count
    if spec.loop:
        turns = pipeline.loops(
            prompts,
            seconds=spec.seconds,
            seeds=own_seeds,
            sampling=spec.sampling,
            negative_prompt=spec.negative_prompt,
            controls=spec.controls,
            start=start,
        )
        return list(turns)
    return pipeline.takes(
        prompts,
        seconds=[spec.seconds] * count,
        seeds=own_seeds,
        sampling=spec.sampling,
        negative_prompt=spec.negative_prompt,
        controls=spec.controls,
        start=start,
    )


def seam_report(seam: Seam) -> dict[str, Any]:
    """What a sidecar tells of a loop's seam: all its numbers, rounded, and the verdict."""
    numbers = {**asdict(seam), "score": seam.score}
    return {**{name: round(value, 4) for name, value in numbers.items()}, "passes": seam.passes}


def _better(before: Made | None, made: Made) -> Made:
    """The one with the better seam."""
    if before is None or before.seam is None or made.seam is None:
        return made
    return made if made.seam.score < before.seam.score else before
