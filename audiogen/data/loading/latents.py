"""Latents of a manifest's files, encoded once and cached under a digest of what made them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor

from audiogen.codecs import Codec
from audiogen.conditioning.controls import ControlName
from audiogen.data.loading.clips import (
    long_sound,
    read_clip,
    speeds_of,
    version_blocks,
    version_length,
    versions_of,
)
from audiogen.data.loading.long_sounds import LongSound
from audiogen.data.loading.measured import MeasuredWindow, measure_blocks, measure_windows
from audiogen.data.manifest import ManifestRow
from audiogen.storage import publish_folder, read_tensors, write_tensors

SHARD_ITEMS, SHARD_BYTES = 1024, 256 << 20
"""What a shard has at most; an item of hours is one of its own."""
INDEX_NAME = "index.json"


@dataclass(frozen=True, kw_only=True)
class LatentItem:
    """One encoded file: latents (D, L) or tokens (K, L), and how many frames are sound.

    Where it has windows with measures, training uses those alone; else any.
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
    traits: bool = False,
) -> Iterable[LatentItem]:
    """Encode files, one after the other, each as one item or as several versions.

    Long recordings are read and encoded in pieces.

    A file shorter than a training window, `min_frames`, is filled up with silence before it is
    encoded, so that what lies behind its end is the latent of silence. For `controls` and
    `traits` see `measure_windows`, for `versions` `versions_of`; traits are those of the file
    itself, and its versions have none.
    """
    hop = codec.spec.hop_length
    for row in rows:
        window_seconds = min_frames * hop / codec.spec.sample_rate
        sound = long_sound(folder, row, codec.spec, window_seconds=window_seconds)
        if sound:
            for number, version in enumerate(speeds_of(versions)):
                first = traits and number == 0
                yield _encode_long(sound, row, codec, version, min_frames, controls, traits=first)
            continue
        for number, wav in enumerate(versions_of(read_clip(folder, row, codec.spec), versions)):
            first = traits and number == 0
            windows = measure_windows(wav, codec.spec, min_frames, controls, traits=first)
            yield encode_clip(wav, row, codec, min_frames=min_frames, windows=windows)


def encode_clip(
    wav: Tensor,
    row: ManifestRow,
    codec: Codec,
    *,
    min_frames: int,
    windows: Sequence[MeasuredWindow] = (),
) -> LatentItem:
    """Encode a sound (C, T) in whole frames, filled up with silence to `min_frames`."""
    hop = codec.spec.hop_length
    padded = torch.cat(list(whole_frames([wav], hop)), dim=1)
    num_frames = padded.shape[1] // hop
    padded = F.pad(padded, (0, max(0, min_frames - num_frames) * hop))
    latents = codec.encode(padded[None].to(codec.device))[0].cpu()
    return LatentItem(latents=latents, num_frames=num_frames, row=row, windows=windows)


def whole_frames(blocks: Iterable[Tensor], hop_length: int) -> Iterator[Tensor]:
    """Yield blocks (C, n) of a sound, and at its end what fills up the last frame.

    That is what comes before, turned round. Were it silence, nearly every steady sound would have a
    frame with a gap in it, and a generator would put one anywhere.
    """
    length, end = 0, None
    for block in blocks:
        yield block
        length += block.shape[1]
        end = block if end is None else torch.cat([end, block], dim=1)
        end = end[:, -hop_length:]
    if end is not None and length % hop_length:
        turned = end.flip(1)[:, : -length % hop_length]
        yield turned
        length += turned.shape[1]
        if length % hop_length:  # shorter than what is missing
            yield turned.new_zeros(turned.shape[0], -length % hop_length)


def _encode_long(
    sound: LongSound,
    row: ManifestRow,
    codec: Codec,
    version: tuple[int, int],
    min_frames: int,
    controls: Sequence[ControlName],
    *,
    traits: bool,
) -> LatentItem:
    """Encode a version of a recording that is longer than `min_frames`, twice read for measures."""
    speed, sign = version
    filled = whole_frames(version_blocks(sound, speed, sign), codec.spec.hop_length)
    blocks = (wav[None].to(codec.device) for wav in filled)
    latents = torch.cat([piece[0].cpu() for piece in codec.encode_pieces(blocks)], dim=-1)
    again = version_blocks(sound, speed, sign)
    length = version_length(sound, speed)
    windows = measure_blocks(again, length, codec.spec, min_frames, controls, traits=traits)
    return LatentItem(latents=latents, num_frames=latents.shape[-1], row=row, windows=windows)


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
        for number, group in enumerate(_groups(items)):
            shard = f"shard-{number:05d}.safetensors"
            write_tensors(folder / shard, {str(key): one.latents for key, one in enumerate(group)})
            index += [
                _Entry(
                    path=item.row.path,
                    num_frames=item.num_frames,
                    shard=shard,
                    key=str(key),
                    windows=tuple(item.windows),
                )
                for key, item in enumerate(group)
            ]
        (folder / INDEX_NAME).write_bytes(_INDEX.dump_json(index))


def _groups(items: Iterable[LatentItem]) -> Iterator[list[LatentItem]]:
    """Yield what is held and written at once."""
    group: list[LatentItem] = []
    for item in items:
        group.append(item)
        size = sum(one.latents.nbytes for one in group)
        if len(group) == SHARD_ITEMS or size >= SHARD_BYTES:
            yield group
            group = []
    if group:
        yield group


def part_of(final: Path, number: int, count: int) -> Path:
    """Folder of the latents that process `number` of `count` writes, for `join_latents`."""
    return final.with_name(f"{final.name}-part-{number}-of-{count}")


def join_latents(final: Path, count: int) -> None:
    """Move the parts of `count` processes into one folder, which appears when complete."""
    with publish_folder(final) as folder:
        for number in range(count):
            part_of(final, number, count).rename(folder / f"part-{number}")
    for part in final.parent.glob(f"{final.name}-part-*"):  # of other numbers of processes
        shutil.rmtree(part)


def read_latents(folder: Path, rows: Sequence[ManifestRow]) -> list[LatentItem]:
    """Read what `write_latents` wrote, in the order of `rows`; ValueError when a row is not there.

    Versions of a row follow one another. Shards are mapped into memory, not loaded: sets larger
    than memory can be read, and processes on one machine share what they read.
    """
    known: dict[str, list[tuple[Path, _Entry]]] = {}
    for index in folder.rglob(INDEX_NAME):
        for entry in _read_index(index):
            known.setdefault(entry.path, []).append((index.with_name(entry.shard), entry))
    missing = sum(row.path not in known for row in rows)
    if missing:
        raise ValueError(
            f"{folder}: has latents of {len(rows) - missing} of {len(rows)} files;"
            " delete the folder and run the same command again"
        )
    wanted = [(row, shard, entry) for row in rows for shard, entry in known[row.path]]
    shards = {shard: read_tensors(shard) for shard in {shard for _, shard, _ in wanted}}
    for _, shard, entry in wanted:
        if entry.key not in shards[shard]:
            raise ValueError(
                f"{shard}: lacks the latents of {entry.path};"
                " delete the folder and run the same command again"
            )
    return [
        LatentItem(
            latents=shards[shard][entry.key],
            num_frames=entry.num_frames,
            row=row,
            windows=entry.windows,
        )
        for row, shard, entry in wanted
    ]


def _read_index(path: Path) -> list[_Entry]:
    """Entries of an index; ValueError for a damaged one or a shard outside of its folder."""
    try:
        return _INDEX.validate_json(path.read_bytes())
    except ValidationError:
        raise ValueError(
            f"{path}: not an index of latents; delete the folder and run the same command again"
        ) from None
