"""The manifest: one JSON line per file that intake looked at, used or refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from audiogen.audio.io.member import Member, Sound, is_remote, label_of
from audiogen.data.metadata import Cut, Split, first_fault
from audiogen.storage import atomic_write_text

Verdict = Literal["used", "refused"]


@dataclass(frozen=True, kw_only=True)
class ManifestRow:
    """What intake found out about one file.

    Attributes:
        path: relative to the data folder, with forward slashes.
        sha256: of the file, lower-case hex; empty when it was refused before it was decoded.
        seconds: duration; 0 likewise.
        sample_rate: Hz; 0 likewise.
        channels: audio channels; 0 likewise.
        prompt: caption; empty when nothing is known.
        wordings: further captions of the sound.
        label: class; empty when nothing is known.
        split: empty when refused.
        source_id: the recording that the clip comes from; it lies on one side of the split.
        licence: SPDX where evident, else as written; see `licences` for what is used.
        author: who made the recording.
        source: where it comes from, mostly a URL.
        role: what the file is: a whole sound, a slice of one, or a loop.
        caption_from: where the caption is from, in words; empty when there is none.
        verdict: whether training may read the file.
        reason: code of the refusal; empty when used.
        warnings: codes of faults that do not keep the file from being used.
        copy_of: path of an earlier file with the same sound; empty when there is none.
        archive: tar archive that holds the file: relative to the data folder, or an address; empty
            for a file of its own.
        offset: of the file's first byte in the archive.
        num_bytes: of the file in the archive.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    path: str
    sha256: str = ""
    seconds: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    prompt: str = ""
    wordings: tuple[str, ...] = ()
    label: str = ""
    split: Split = ""
    source_id: str = ""
    licence: str = ""
    author: str = ""
    source: str = ""
    role: Cut = "whole"
    caption_from: str = ""
    verdict: Verdict = "used"
    reason: str = ""
    warnings: tuple[str, ...] = ()
    copy_of: str = ""
    archive: str = ""
    offset: int = 0
    num_bytes: int = 0

    def __post_init__(self) -> None:
        if self.verdict == "refused":
            if not self.reason:
                raise ValueError(f"{self.path}: a refused row needs a reason.")
            return
        path = PurePosixPath(self.path)
        if not path.parts or path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{self.path!r} is not a path inside the data folder.")
        if not self.seconds > 0 or self.sample_rate <= 0 or self.channels <= 0:
            raise ValueError(f"{self.path}: a used row needs seconds, sample_rate and channels.")
        if self.archive:
            self._check_archive()
        if self.reason:
            raise ValueError(f"{self.path}: a used row has no reason, got {self.reason!r}.")

    def _check_archive(self) -> None:
        """Raise unless the row says where in which archive its file is."""
        inside = PurePosixPath(self.archive)
        if not is_remote(self.archive) and (inside.is_absolute() or ".." in inside.parts):
            raise ValueError(f"{self.archive!r} is not a path inside the data folder.")
        if not self.path.startswith(f"{label_of(self.archive)}/"):
            raise ValueError(f"{self.path!r} is not a path inside {self.archive!r}.")
        if self.offset <= 0 or self.num_bytes <= 0:
            raise ValueError(f"{self.path}: a row inside an archive needs offset and num_bytes.")

    def sound(self, folder: Path) -> Sound:
        """Where the file's bytes are; `folder` is the data folder."""
        if not self.archive:
            return folder / self.path
        place = self.archive if is_remote(self.archive) else str(folder / self.archive)
        name = self.path.removeprefix(f"{label_of(self.archive)}/")
        return Member(archive=place, name=name, offset=self.offset, num_bytes=self.num_bytes)


_ROW = TypeAdapter(ManifestRow)
_FACTS: Mapping[str, tuple[str, ...]] = {  # of a row, by what a change of them is called
    "with another content": ("sha256",),
    "on the other side of the split": ("split",),
    "with another caption or label": ("prompt", "wordings", "label"),
    "with another source_id": ("source_id",),
    "with another licence or author": ("licence", "author", "source"),
}


def manifest_text(rows: Sequence[ManifestRow]) -> str:
    """Return one JSON line per row."""
    lines = (
        json.dumps(dataclasses.asdict(row), ensure_ascii=False, allow_nan=False) for row in rows
    )
    return "".join(f"{line}\n" for line in lines)


def write_manifest(path: Path, rows: Sequence[ManifestRow]) -> None:
    """Write the text of a manifest; the file appears whole or not at all."""
    atomic_write_text(path, manifest_text(rows))


def changes(before: Sequence[ManifestRow], after: Sequence[ManifestRow]) -> list[str]:
    """Say in words how the sounds that are used differ, each kind of change with an example."""
    old, new = (
        {row.path: row for row in rows if row.verdict == "used"} for rows in (before, after)
    )
    kinds = {
        "new": sorted(new.keys() - old.keys()),
        "gone or refused": sorted(old.keys() - new.keys()),
    }
    for kind, names in _FACTS.items():
        facts = attrgetter(*names)
        both = sorted(old.keys() & new.keys())
        kinds[kind] = [path for path in both if facts(old[path]) != facts(new[path])]
    return [f"{len(paths)} {kind} ({paths[0]!r})" for kind, paths in kinds.items() if paths]


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read what `write_manifest` wrote.

    Raises:
        ValueError: naming the file and the line, if a row is not as it should be or the file does
            not end with a whole line.
    """
    if not path.exists():
        raise ValueError(f"{path}: there is no manifest; make one with `audiogen prepare`.")
    *lines, rest = path.read_bytes().split(b"\n")
    if rest:
        raise ValueError(f"{path}:{len(lines) + 1}: the last line is cut off; make it anew.")
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(_ROW.validate_json(line))
        except ValidationError as error:
            raise ValueError(f"{path}:{number}: {first_fault(error)}.") from None
    return rows


def read_split(path: Path, split: Literal["train", "held_out"]) -> list[ManifestRow]:
    """Read the rows of a manifest that lie on one side of the split."""
    return [row for row in read_manifest(path) if row.split == split]
