"""Latents of a manifest's files, encoded once and cached under a digest of what made them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from audiogen.codecs import Codec
from audiogen.conditioning.controls import ControlName, Role, make_controls
from audiogen.conditioning.text import TextStates
from audiogen.data.loading.clips import Position, item_seed, read_clip, versions_of
from audiogen.data.loading.measured import MeasuredWindow, measure_windows
from audiogen.data.manifest import ManifestRow
from audiogen.storage import publish_folder, read_json, read_tensors, write_tensors
from audiogen.types import Batch, Conditions

SHARD_ITEMS = 1024
SHARD_NAME = "shard-{:05d}.safetensors"


@dataclass(frozen=True, kw_only=True)
class LatentItem:
    """One encoded file: latents (D, L) or tokens (K, L), and how many frames are sound.

    Where it has measured windows, training uses those alone; else any.
    """

    latents: Tensor
    num_frames: int
    row: ManifestRow
    windows: Sequence[MeasuredWindow] = ()


def encode_files(
    folder: Path,
    rows: Sequence[ManifestRow],
    codec: Codec,
    *,
    min_frames: int,
    controls: Sequence[ControlName] = (),
    versions: int = 1,
) -> Iterable[LatentItem]:
    """Encode whole files, one after the other, each as one item or as several versions.

    A file shorter than `min_frames` is filled up with silence before it is encoded, so that what
    lies behind its end is the latent of silence.

    Args:
        folder: of the sounds.
        rows: of the files.
        codec: that encodes them.
        min_frames: latent frames of a training window.
        controls: what is measured of the windows; see `measure_windows`.
        versions: of each file; see `versions_of`.
    """
    hop = codec.spec.hop_length
    for row in rows:
        for wav in versions_of(read_clip(folder, row, codec.spec), versions):
            num_frames = -(-wav.shape[1] // hop)
            windows = measure_windows(wav, codec.spec, min_frames, controls)
            padded = F.pad(wav, (0, max(num_frames, min_frames) * hop - wav.shape[1]))
            latents = codec.encode(padded[None].to(codec.device))[0].cpu()
            yield LatentItem(latents=latents, num_frames=num_frames, row=row, windows=windows)


def write_latents(final: Path, items: Iterable[LatentItem]) -> None:
    """Write items as shards of safetensors and an index; the folder appears when complete."""
    with publish_folder(final) as folder:
        index: list[dict[str, object]] = []
        shard: dict[str, Tensor] = {}
        for number, item in enumerate(items):
            key = str(number)
            shard[key] = item.latents
            name = SHARD_NAME.format(number // SHARD_ITEMS)
            entry = {"path": item.row.path, "num_frames": item.num_frames}
            windows = [window.to_tree() for window in item.windows]
            more = {"windows": windows} if windows else {}
            index.append({**entry, "shard": name, "key": key, **more})
            if len(shard) == SHARD_ITEMS:
                write_tensors(folder / name, shard)
                shard = {}
        if shard:
            write_tensors(folder / name, shard)
        (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def part_of(final: Path, number: int, count: int) -> Path:
    """Folder of the latents that process `number` of `count` writes, for `join_latents`."""
    return final.with_name(f"{final.name}-part-{number}-of-{count}")


def join_latents(final: Path, count: int) -> None:
    """Make one folder of latents from the parts of `count` processes, which vanish.

    Until `final` appears, whole, all of it can be repeated.
    """
    with publish_folder(final) as folder:
        joined: list[dict[str, Any]] = []
        shards = 0
        for part in (part_of(final, number, count) for number in range(count)):
            index = _read_index(part / "index.json")
            names: dict[str, str] = {}
            for old in sorted({entry["shard"] for entry in index}):
                names[old] = SHARD_NAME.format(shards)
                _link(part / old, folder / names[old])
                shards += 1
            joined += [{**entry, "shard": names[entry["shard"]]} for entry in index]
        (folder / "index.json").write_text(json.dumps(joined), encoding="utf-8")
    for part in final.parent.glob(f"{final.name}-part-*"):  # also of other numbers of processes
        shutil.rmtree(part)


def _link(source: Path, target: Path) -> None:
    """Give a file another name, or a copy where the file system has no second names."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def read_latents(folder: Path, rows: Sequence[ManifestRow]) -> list[LatentItem]:
    """Read what `write_latents` wrote, in the order of `rows`; ValueError when a row is not there.

    Versions of a row follow one another. Shards are mapped into memory, not loaded: sets larger
    than memory can be read, and processes on one machine share what they read.
    """
    index: dict[str, list[dict[str, Any]]] = {}
    for entry in _read_index(folder / "index.json"):
        index.setdefault(entry["path"], []).append(entry)
    missing = sum(row.path not in index for row in rows)
    if missing:
        raise ValueError(
            f"{folder}: has latents of {len(rows) - missing} of {len(rows)} files;"
            " delete the folder and run the same command again"
        )
    names = {entry["shard"] for row in rows for entry in index[row.path]}
    shards = {name: read_tensors(folder / name) for name in names}
    return [_item(entry, shards, row, folder) for row in rows for entry in index[row.path]]


def _item(
    entry: Mapping[str, Any],
    shards: Mapping[str, Mapping[str, Tensor]],
    row: ManifestRow,
    folder: Path,
) -> LatentItem:
    """The encoded file of an entry; ValueError when its shard does not hold it."""
    latents = shards[entry["shard"]].get(entry["key"])
    if latents is None:
        raise ValueError(_wrong_index(folder / "index.json"))
    try:
        windows = [MeasuredWindow.from_tree(tree) for tree in entry.get("windows", ())]
        if any(window.start >= entry["num_frames"] for window in windows):
            raise ValueError("a window that begins behind the end")
    except (TypeError, ValueError):
        raise ValueError(_wrong_index(folder / "index.json")) from None
    return LatentItem(
        latents=latents, num_frames=entry["num_frames"], row=row, windows=tuple(windows)
    )


def _read_index(path: Path) -> list[dict[str, Any]]:
    """Entries of an index; ValueError for a damaged one or a shard outside of its folder."""
    try:
        index = read_json(path)
    except ValueError:
        raise ValueError(_wrong_index(path)) from None
    kinds = {"path": str, "num_frames": int, "shard": str, "key": str}
    for entry in index if isinstance(index, list) else [None]:
        if not isinstance(entry, dict) or not all(
            isinstance(entry.get(key), kind) for key, kind in kinds.items()
        ):
            raise ValueError(_wrong_index(path))
        if not re.fullmatch(r"shard-[0-9]{5,}\.safetensors", entry["shard"]):
            raise ValueError(_wrong_index(path))
    return cast("list[dict[str, Any]]", index)


def _wrong_index(path: Path) -> str:
    return f"{path}: not an index of latents; delete the folder and run the same command again"


def prompts_of(row: ManifestRow) -> list[str]:
    """The texts that may describe a clip while training: its caption and its label."""
    return list(dict.fromkeys(text for text in (row.prompt, row.label) if text.strip())) or [""]


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
        """A window at a random place of a long file, or a whole short one with its padding.

        Where windows were measured, it is one of those.
        """
        item = self._items[position.index]
        random = torch.Generator().manual_seed(item_seed(self._seed, position))
        spare = max(0, item.num_frames - self._window)
        places = len(item.windows) or spare + 1
        start = int(torch.randint(places, (), generator=random))
        measures: Mapping[str, float] = {}
        if item.windows:
            start, measures = item.windows[start].start, item.windows[start].measures
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
        return Batch(latents=latents, mask=mask, conditions=conditions)
