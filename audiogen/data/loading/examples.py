"""Examples of training: windows of latents with their conditions, and the batches they make."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from audiogen.conditioning.controls import Role, make_controls
from audiogen.conditioning.text import TextStates
from audiogen.data.loading.captions import Captions
from audiogen.data.loading.clips import Position
from audiogen.data.loading.latents import LatentItem
from audiogen.seeds import normal, numbers_of
from audiogen.storage import publish_folder, read_json, read_tensors, write_tensors
from audiogen.types import Batch, Conditions

LEAST_SHARE = 0.25
"""Of its places, that a sound keeps which is much shorter than a window; see `LatentDataset`."""


def drawn(latents: Tensor, open_std: Tensor | None, random: np.random.Generator) -> Tensor:
    """Latents (D, W) with what their codec leaves open, of standard deviation `open_std` (D, 1).

    A generator that only ever sees the mean of what is open learns clips by heart.
    """
    if open_std is None or not bool((open_std > 0).any()):
        return latents
    return latents + open_std * normal(random, *latents.shape)


class TextTable:
    """Encoded prompts by their text, so that each is encoded once."""

    def __init__(self, prompts: Sequence[str], states: TextStates) -> None:
        self._index = {prompt: number for number, prompt in enumerate(prompts)}
        self._states = states

    def conditions(
        self,
        prompts: Sequence[str],
        seconds: list[float],
        roles: list[Role | None],
        measures: Sequence[Mapping[str, float]] = (),
    ) -> Conditions:
        """Conditions of a batch; KeyError for a prompt that was not encoded."""
        numbers = torch.tensor([self._index[prompt] for prompt in prompts])
        mask = self._states.mask[numbers]
        length = max(1, int(mask.sum(dim=1).max()))  # attention to padding would cost time
        return Conditions(
            text=self._states.states[numbers, :length],
            text_mask=mask[:, :length],
            pooled=self._states.pooled[numbers],
            controls=make_controls(seconds=seconds, roles=roles, measures=measures),
        )

    @staticmethod
    def write(path: Path, prompts: Sequence[str], states: TextStates) -> None:
        """Write prompts and states as a folder that appears when complete."""
        with publish_folder(path) as folder:
            (folder / "prompts.json").write_text(json.dumps(list(prompts)), encoding="utf-8")
            tensors = {"states": states.states, "mask": states.mask, "pooled": states.pooled}
            write_tensors(folder / "states.safetensors", tensors)

    @classmethod
    def read(cls, path: Path) -> TextTable:
        """Read what `write` wrote."""
        prompts = read_json(path / "prompts.json")
        return cls(prompts, TextStates(**read_tensors(path / "states.safetensors")))


@dataclass(frozen=True, kw_only=True)
class Example:
    """One training example before collation: latents (D, W), number of real frames, conditions.

    Of `measures` NaN, like none, is "not given".
    """

    latents: Tensor
    num_frames: int
    prompt: str
    seconds: float
    role: Role
    measures: Mapping[str, float] = field(default_factory=dict)


class LatentDataset(Dataset[Example]):
    """Windows of encoded files for generator training; a pure function of seed and position.

    Shares of its places have other items, such as mixtures, each time any of them.
    """

    def __init__(
        self,
        items: Sequence[LatentItem],
        *,
        window_frames: int,
        frame_rate: float,
        seed: int,
        open_std: Tensor | None = None,
        others: Sequence[tuple[Sequence[LatentItem], float]] = (),
        own_captions: int = 1,
        by_length: bool = False,
    ) -> None:
        """Cut windows of items; what the codec leaves open (D, 1) is drawn each time.

        Args:
            items: encoded sounds.
            window_frames: of an example.
            frame_rate: of the latents, Hz.
            seed: of all that is drawn.
            open_std: of what the codec leaves open.
            others: groups of further items, each with its share of all places.
            own_captions: see `Captions`.
            by_length: whether an item shorter than a window leaves a part of its places to those
                that fill one; of `LEAST_SHARE` of a window, or less, that share is left.
        """
        self._window, self._frame_rate, self._seed = window_frames, frame_rate, seed
        self._open_std = None if open_std is None else open_std.cpu()
        self._captions = Captions(items, own=own_captions)
        self._items = [
            item for item in items for _ in range(max(1, round(item.num_frames / window_frames)))
        ]
        self._instead = [
            item for item in self._items if by_length and item.num_frames >= window_frames
        ]
        given = [(group, share) for group, share in others if group and share]
        own_share = 1 - sum(share for _, share in given)
        self._others = [
            (group, round(len(self._items) * share / own_share)) for group, share in given
        ]

    def __len__(self) -> int:
        return len(self._items) + sum(places for _, places in self._others)

    def name_of(self, position: Position) -> str:
        """File, or files, that an item is cut from."""
        item, _ = self._drawn(position)
        return item.row.path

    def _drawn(self, position: Position) -> tuple[LatentItem, np.random.Generator]:
        """What is at a position, and the source of all else that is random there."""
        random = numbers_of("clip", self._seed, position.epoch, position.index)
        if position.index < len(self._items):
            item = self._items[position.index]
            share = max(LEAST_SHARE, item.num_frames / self._window)
            if self._instead and share < 1 and random.random() >= share:
                item = self._instead[int(random.integers(len(self._instead)))]
            return item, random
        place = position.index - len(self._items)
        for group, places in self._others:
            if place < places:
                return group[int(random.integers(len(group)))], random
            place -= places
        raise IndexError(f"no example at {position}")

    def __getitem__(self, position: Position) -> Example:
        """A window at a random place of a long file, or a whole short one with its padding.

        Where windows were measured, it is one of those.
        """
        item, random = self._drawn(position)
        spare = max(0, item.num_frames - self._window)
        measured = [window for window in item.windows if window.measures]
        start = int(random.integers(len(measured) or spare + 1))
        measures: dict[str, float] = {}
        if measured:
            window = measured[start]
            start, measures = window.start, {str(name): at for name, at in window.measures.items()}
        num_frames = min(item.num_frames, self._window)
        return Example(
            latents=drawn(item.latents[:, start : start + self._window], self._open_std, random),
            num_frames=num_frames,
            prompt=self._captions.draw(item, start, random),
            seconds=num_frames / self._frame_rate,
            role="slice" if spare > 0 else item.row.role,
            measures=measures,
        )


class Collate:
    """Joins examples into a `Batch`; a class, so that loader workers can be sent it."""

    def __init__(self, table: TextTable) -> None:
        self._table = table

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """Stack examples of equal window; frames behind a clip's end are masked."""
        latents = torch.stack([example.latents for example in examples])
        frames = torch.tensor([example.num_frames for example in examples])
        conditions = self._table.conditions(
            [example.prompt for example in examples],
            [example.seconds for example in examples],
            [example.role for example in examples],
            [example.measures for example in examples],
        )
        mask = torch.arange(latents.shape[2])[None] < frames[:, None]
        is_full = bool(mask.all())  # asked here, where no device is waited for
        return Batch(latents=latents, mask=mask, conditions=conditions, is_full=is_full)
