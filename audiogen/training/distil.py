"""Few steps: a trained generator's paths from noise to latents, recorded to be learnt.

A point anywhere on a path is paired with the path's end, so that the network learns to jump there
at once (knowledge distillation of the probability-flow ODE; Luhman and Luhman 2021, arXiv
2101.02388, from every point of it as in consistency distillation; Song et al. 2023). The guidance
of the paths is learnt with them and costs nothing afterwards.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Dataset

from audiogen.data.loading.clips import Position
from audiogen.data.loading.examples import Example
from audiogen.generators import Start
from audiogen.generators.abilities import HasPaths
from audiogen.generators.request import Request
from audiogen.seeds import hashed_seed, numbers_of
from audiogen.storage import publish_folder, read_json, read_tensors, write_tensors
from audiogen.train_config import DistilConfig
from audiogen.training.distributed.waiting import wait_for_all
from audiogen.training.loop.stage import Examples, Items
from audiogen.types import Batch, PathPoint

_log = logging.getLogger(__name__)

SHARD_PATHS = 32
"""Paths that are sampled together and kept in one file."""
EMPTY_PROMPTS = 0.1
"""Share of the paths without prompt, so that the few-step model knows that case too."""


def write_paths(
    folder: Path,
    teacher: HasPaths,
    clips: Examples,
    *,
    config: DistilConfig,
    seed: int,
    accelerator: Accelerator,
) -> None:
    """Record paths of `teacher` in shards; those that are there already are kept.

    Every process makes its share. What is given (inpainting, continuation) is drawn for each path
    as it is in training.
    """
    shards = -(-config.num_paths // SHARD_PATHS)
    if accelerator.is_main_process:
        missing = shards - len(list(folder.glob("shard-*")))
        _log.info("distil: recording %d of %d paths", missing * SHARD_PATHS, shards * SHARD_PATHS)
    for number in range(accelerator.process_index, shards, accelerator.num_processes):
        final = folder / f"shard-{number:05d}"
        if final.is_dir():
            continue
        first = number * SHARD_PATHS
        numbers = range(first, min(first + SHARD_PATHS, config.num_paths))
        examples = [_example(clips.items, seed, path) for path in numbers]
        batch = clips.collate(examples).to(accelerator.device)
        with accelerator.autocast():
            tensors = _record(teacher, batch, numbers, config)
        with publish_folder(final) as shard:
            write_tensors(shard / "paths.safetensors", tensors)
            index = [{**vars(example), "latents": None} for example in examples]
            (shard / "index.json").write_text(json.dumps(index), encoding="utf-8")
    wait_for_all()


def _example(clips: Items, seed: int, path: int) -> Example:
    """The clip that path number `path` takes its prompt, length and given frames from."""
    position = Position(path // len(clips), path % len(clips))
    example: Example = clips[position]
    random = numbers_of("path", seed, position.epoch, position.index)
    if random.random() < EMPTY_PROMPTS:
        example = replace(example, prompt="")
    # As the conditioner leaves out measures in training: any number of them may be given.
    share, *chances = random.random(1 + len(example.measures)).tolist()
    given = {
        name: number
        for (name, number), chance in zip(example.measures.items(), chances, strict=True)
        if chance >= share and not math.isnan(number)
    }
    return replace(example, measures=given)


def _record(
    teacher: HasPaths, batch: Batch, numbers: Iterable[int], config: DistilConfig
) -> dict[str, Tensor]:
    """Sample one shard: noisy (B, P, D, L), t (B, P), end and known (B, D, L), keep (B, L)."""
    keep = torch.zeros_like(batch.mask)
    if teacher.keeps == "anything":
        torch.manual_seed(hashed_seed("path", min(numbers)))
        keep = teacher.draw_kept_frames(batch.mask)
    start = Start(latents=batch.latents, keep=keep) if bool(keep.any()) else Start()
    request = Request(
        conditions=batch.conditions,
        lengths=[batch.latents.shape[-1]] * len(batch.conditions),
        sampling=config.teacher,
        seeds=[hashed_seed("path", number) for number in numbers],
        start=start,
    )
    points, times, end = teacher.trace(request)
    return {
        "noisy": points.transpose(0, 1).half().cpu(),
        "t": times.T.contiguous().cpu(),
        "end": end.half().cpu(),
        "known": batch.latents.half().cpu(),
        "keep": keep.cpu(),
    }


PathExample = tuple[Example, PathPoint]
"""The end of a path, and one point of it, before collation; shapes without the batch."""


class PathDataset(Dataset[PathExample]):
    """Points of recorded paths; a pure function of seed and position."""

    def __init__(self, folder: Path, *, first_share: float, seed: int) -> None:
        self._first_share, self._seed = first_share, seed
        self._paths: list[tuple[dict[str, Tensor], int, Example]] = []
        for shard in sorted(folder.glob("shard-*")):
            tensors = read_tensors(shard / "paths.safetensors")
            index = read_json(shard / "index.json")
            for row, entry in enumerate(index):
                clip = Example(**{**entry, "latents": tensors["end"][row]})
                self._paths.append((tensors, row, clip))

    def __len__(self) -> int:
        return len(self._paths)

    def name_of(self, position: Position) -> str:
        """Which recorded path an item is."""
        return f"path {position.index}"

    def __getitem__(self, position: Position) -> PathExample:
        """The first point of a path, with a chance of `first_share`, or any."""
        tensors, row, clip = self._paths[position.index]
        random = numbers_of("clip", self._seed, position.epoch, position.index)
        count = tensors["t"].shape[1]
        any_point = int(random.integers(count))
        first = random.random() < self._first_share
        number = 0 if first else any_point
        point = PathPoint(
            noisy=tensors["noisy"][row, number].float(),
            t=tensors["t"][row, number],
            known=tensors["known"][row].float(),
            keep=tensors["keep"][row],
        )
        return clip, point


def collate_paths(
    collate: Callable[[list[Example]], Batch], examples: Sequence[PathExample], *, infill: bool
) -> Batch:
    """Join points of equal window; what is given is left out of models without infill."""
    clips, points = zip(*examples, strict=True)
    plain = collate(list(clips))
    names = ("noisy", "t", "known", "keep") if infill else ("noisy", "t")
    point = {name: torch.stack([getattr(one, name) for one in points]) for name in names}
    return replace(plain, latents=plain.latents.float(), point=PathPoint(**point))
