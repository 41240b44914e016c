"""Latents of a manifest's files, encoded once and cached under a digest of what made them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Annotated

import torch.nn.functional as F
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor

from audiogen.codecs import Codec
from audiogen.conditioning.controls import ControlName
from audiogen.data.loading.clips import read_clip, versions_of
from audiogen.data.loading.measured import MeasuredWindow, measure_windows
from audiogen.data.manifest import ManifestRow
from audiogen.storage import publish_folder, read_tensors, write_tensors

SHARD_ITEMS = 1024
INDEX_NAME = "index.json"
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


def encode_rows(
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


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A line of the index: an encoded file, and the shard and key that its latents lie under."""

    path: str
    num_frames: int
    shard: Annotated[str, Field(pattern=r"^shard-[0-9]{5,}\.safetensors$")]
    key: str
    windows: tuple[MeasuredWindow, ...] = ()

    def __post_init__(self) -> None:
        if any(window.start >= self.num_frames for window in self.windows):
            raise ValueError("a window begins behind the end")


_INDEX = TypeAdapter(list[_Entry])


def write_latents(final: Path, items: Iterable[LatentItem]) -> None:
    """Write items as shards of safetensors and an index; the folder appears when complete."""
    with publish_folder(final) as folder:
        index: list[_Entry] = []
        for number, group in enumerate(_groups(items, SHARD_ITEMS)):
            name = SHARD_NAME.format(number)
            write_tensors(folder / name, {str(key): item.latents for key, item in enumerate(group)})
            index += [
                _Entry(
                    path=item.row.path,
                    num_frames=item.num_frames,
                    shard=name,
                    key=str(key),
                    windows=tuple(item.windows),
                )
                for key, item in enumerate(group)
            ]
        (folder / INDEX_NAME).write_bytes(_INDEX.dump_json(index))


def _groups(items: Iterable[LatentItem], size: int) -> Iterator[list[LatentItem]]:
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group


def part_of(final: Path, number: int, count: int) -> Path:
    """Folder of the latents that process `number` of `count` writes, for `join_latents`."""
    return final.with_name(f"{final.name}-part-{number}-of-{count}")


def join_latents(final: Path, count: int) -> None:
    """Make one folder of latents from the parts of `count` processes, which vanish.

    Until `final` appears, whole, all of it can be repeated.
    """
    with publish_folder(final) as folder:
        joined: list[_Entry] = []
        names: dict[Path, str] = {}
        for part in (part_of(final, number, count) for number in range(count)):
            for entry in _read_index(part):
                name = names.setdefault(part / entry.shard, SHARD_NAME.format(len(names)))
                joined.append(replace(entry, shard=name))
        for shard, name in names.items():
            _link(shard, folder / name)
        (folder / INDEX_NAME).write_bytes(_INDEX.dump_json(joined))
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
    index: dict[str, list[_Entry]] = {}
    for entry in _read_index(folder):
        index.setdefault(entry.path, []).append(entry)
    missing = sum(row.path not in index for row in rows)
    if missing:
        raise ValueError(
            f"{folder}: has latents of {len(rows) - missing} of {len(rows)} files;"
            " delete the folder and run the same command again"
        )
    wanted = [(row, entry) for row in rows for entry in index[row.path]]
    shards = {name: read_tensors(folder / name) for name in {entry.shard for _, entry in wanted}}
    if any(entry.key not in shards[entry.shard] for _, entry in wanted):
        raise ValueError(_wrong_index(folder))
    return [
        LatentItem(
            latents=shards[entry.shard][entry.key],
            num_frames=entry.num_frames,
            row=row,
            windows=entry.windows,
        )
        for row, entry in wanted
    ]


def _read_index(folder: Path) -> list[_Entry]:
    """Entries of an index; ValueError for a damaged one or a shard outside of its folder."""
    try:
        return _INDEX.validate_json((folder / INDEX_NAME).read_bytes())
    except ValidationError:
        raise ValueError(_wrong_index(folder)) from None


def _wrong_index(folder: Path) -> str:
    return (
        f"{folder / INDEX_NAME}: not an index of latents; delete the folder and run the same"
        " command again"
    )
