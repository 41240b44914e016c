"""Latents of a manifest's files, encoded once and cached under a digest of what made them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from audiogen.codecs import Codec
from audiogen.conditioning.controls import Role, make_controls
from audiogen.conditioning.text import TextStates
from audiogen.data.clips import Position, item_seed, read_clip
from audiogen.data.manifest import ManifestRow
from audiogen.storage import publish_folder, read_json, read_tensors, write_tensors
from audiogen.types import Batch, Conditions

SHARD_ITEMS = 1024


@dataclass(frozen=True, kw_only=True)
class LatentItem:
    """One encoded file: latents (D, L) or tokens (K, L), and how many frames are sound."""

    latents: Tensor
    num_frames: int
    row: ManifestRow


def encode_files(
    folder: Path, rows: Sequence[ManifestRow], codec: Codec, *, min_frames: int
) -> Iterable[LatentItem]:
    """Encode whole files, one after the other.

    A file shorter than `min_frames` is filled up with silence before it is encoded, so that what
    lies behind its end is the latent of silence.
    """
    hop = codec.spec.hop_length
    for row in rows:
        wav = read_clip(folder, row, codec.spec)
        num_frames = -(-wav.shape[1] // hop)
        wav = F.pad(wav, (0, max(num_frames, min_frames) * hop - wav.shape[1]))
        latents = codec.encode(wav[None].to(codec.device))[0].cpu()
        yield LatentItem(latents=latents, num_frames=num_frames, row=row)


def write_latents(final: Path, items: Iterable[LatentItem]) -> None:
    """Write items as shards of safetensors and an index; the folder appears when complete."""
    with publish_folder(final) as folder:
        index: list[dict[str, object]] = []
        shard: dict[str, Tensor] = {}
        for number, item in enumerate(items):
            shard[str(number)] = item.latents
            name = f"shard-{number // SHARD_ITEMS:05d}.safetensors"
            index.append({"path": item.row.path, "num_frames": item.num_frames, "shard": name})
            if len(shard) == SHARD_ITEMS:
                write_tensors(folder / name, shard)
                shard = {}
        if shard:
            write_tensors(folder / name, shard)
        (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def read_latents(folder: Path, rows: Sequence[ManifestRow]) -> list[LatentItem]:
    """Read what `write_latents` wrote for `rows`; ValueError when a row is not there."""
    by_path = {row.path: row for row in rows}
    index = _read_index(folder / "index.json")
    shards = {name: read_tensors(folder / name) for name in {entry["shard"] for entry in index}}
    items = [
        LatentItem(
            latents=shards[entry["shard"]][str(number)],
            num_frames=entry["num_frames"],
            row=by_path[entry["path"]],
        )
        for number, entry in enumerate(index)
        if entry["path"] in by_path
    ]
    if len(items) != len(rows):
        raise ValueError(
            f"{folder}: has latents of {len(items)} of {len(rows)} files;"
            " delete the folder and run the same command again"
        )
    return items


def _read_index(path: Path) -> list[dict[str, Any]]:
    """Entries of an index; ValueError for a damaged one or a shard outside of its folder."""
    wrong = f"{path}: not an index of latents; delete the folder and run the same command again"
    try:
        index = read_json(path)
    except ValueError:
        raise ValueError(wrong) from None
    kinds = {"path": str, "num_frames": int, "shard": str}
    for entry in index if isinstance(index, list) else [None]:
        if not isinstance(entry, dict) or not all(
            isinstance(entry.get(key), kind) for key, kind in kinds.items()
        ):
            raise ValueError(wrong)
        if not re.fullmatch(r"shard-[0-9]{5,}\.safetensors", entry["shard"]):
            raise ValueError(wrong)
    return cast("list[dict[str, Any]]", index)


def prompts_of(row: ManifestRow) -> list[str]:
    """The texts that may describe a clip while training: its caption and its label."""
    return list(dict.fromkeys(text for text in (row.prompt, row.label) if text.strip())) or [""]


class TextTable:
    """Encoded prompts by their text, so that each is encoded once."""

    def __init__(self, prompts: Sequence[str], states: TextStates) -> None:
        self._index = {prompt: number for number, prompt in enumerate(prompts)}
        self._states = states

    def conditions(
        self, prompts: Sequence[str], seconds: list[float], roles: list[Role | None]
    ) -> Conditions:
        """Conditions of a batch; KeyError for a prompt that was not encoded."""
        numbers = torch.tensor([self._index[prompt] for prompt in prompts])
        mask = self._states.mask[numbers]
        length = max(1, int(mask.sum(dim=1).max()))  # attention to padding would cost time
        return Conditions(
            text=self._states.states[numbers, :length],
            text_mask=mask[:, :length],
            pooled=self._states.pooled[numbers],
            controls=make_controls(seconds=seconds, roles=roles),
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
    """One training example before collation: latents (D, W), number of real frames, conditions."""

    latents: Tensor
    num_frames: int
    prompt: str
    seconds: float
    role: Role

    def without_prompt(self) -> Example:
        """Return the same example with its prompt left out."""
        return replace(self, prompt="")


class LatentDataset(Dataset[Example]):
    """Windows of encoded files for generator training; a pure function of seed and position."""

    def __init__(
        self, items: Sequence[LatentItem], *, window_frames: int, frame_rate: float, seed: int
    ) -> None:
        self._window, self._frame_rate, self._seed = window_frames, frame_rate, seed
        self._items = [
            item for item in items for _ in range(max(1, round(item.num_frames / window_frames)))
        ]

    def __len__(self) -> int:
        return len(self._items)

    def name_of(self, position: Position) -> str:
        """File that an item is cut from."""
        return self._items[position.index].row.path

    def __getitem__(self, position: Position) -> Example:
        """A window at a random place of a long file, or a whole short one with its padding."""
        item = self._items[position.index]
        random = torch.Generator().manual_seed(item_seed(self._seed, position))
        spare = max(0, item.num_frames - self._window)
        start = int(torch.randint(spare + 1, (), generator=random))
        prompts = prompts_of(item.row)
        prompt = prompts[int(torch.randint(len(prompts), (), generator=random))]
        num_frames = min(item.num_frames, self._window)
        cut = "slice" if spare > 0 else item.row.role
        return Example(
            latents=item.latents[:, start : start + self._window],
            num_frames=num_frames,
            prompt=prompt,
            seconds=num_frames / self._frame_rate,
            role=cut,
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
        )
        mask = torch.arange(latents.shape[2])[None] < frames[:, None]
        return Batch(latents=latents, mask=mask, conditions=conditions)
