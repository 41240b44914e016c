"""Sounds in tar archives: what an archive holds, by names and ranges of bytes.

Archives are laid out as WebDataset's: `name.wav` with `name.json` or `name.txt` beside it. They are
not streamed as that library does, whose order depends on workers and processes: a sound is read
by its range of bytes, so that any item of any epoch can be had by its number. The same holds for
archives that are elsewhere, which are listed in `shards.txt`.
"""

from __future__ import annotations

import functools
import re
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from audiogen.audio.io.decoding import AUDIO_SUFFIXES, AudioReadError
from audiogen.audio.io.member import is_remote, remote
from audiogen.data.intake.beside import (
    MAX_SIDECAR_BYTES,
    SIDECAR_SUFFIXES,
    by_any_case,
    joined,
    read_sidecar,
    sidecars,
)
from audiogen.data.intake.walk import is_hidden
from audiogen.data.metadata import Metadata

ARCHIVE_SUFFIX = ".tar"
SHARD_LIST = "shards.txt"
BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
MAX_ADDRESSES = 1_000_000
HEADER_BYTES = 1 << 14
"""Fetched at once while the headers of a remote archive are read."""


def list_archive(archive: Path | str) -> Mapping[str, Any]:
    """List the sounds of an archive as JSON; run in a child process, since archives may be hostile.

    Nothing is unpacked, and files that are neither sounds nor beside one are not opened.

    Returns:
        sounds: [name, offset, number of bytes] of each file with a sound's suffix.
        told: by name of a sound, what the `.json` or `.txt` beside it says, as `Metadata`.
        refused: [name, reason] of each that cannot be used.

    Raises:
        AudioReadError: it is no uncompressed tar archive, or ends too early.
    """
    sounds: dict[str, tuple[int, int]] = {}
    beside: dict[str, Metadata | None] = {}  # None where it cannot be read
    refused: list[tuple[str, str]] = []
    try:
        with _opened(archive) as raw, tarfile.open(fileobj=raw, mode="r:") as tar:
            for info in tar:
                name = PurePosixPath(info.name)
                if is_hidden(name.name) or info.isdir():
                    continue
                if name.suffix.lower() in AUDIO_SUFFIXES:
                    reason = _reason(info, name, sounds)
                    if reason:
                        refused.append((writable(info.name), reason))
                    else:
                        sounds[info.name] = info.offset_data, info.size
                elif name.suffix.lower() in SIDECAR_SUFFIXES and info.isreg():
                    beside[info.name] = _sidecar(tar, info)
    except (tarfile.TarError, EOFError) as error:
        raise AudioReadError(archive, "bad_archive", str(error)) from None
    told = {}
    names = by_any_case(beside)
    for sound in list(sounds):
        records = [beside[name] for name in sidecars(sound, names)]
        known = [record for record in records if record is not None]
        if len(known) < len(records):
            del sounds[sound]
            refused.append((sound, "bad_caption"))
        else:
            own = functools.reduce(joined, known, Metadata(file=sound))
            told[sound] = {**own.to_record(), "file": sound}
    return {
        "sounds": [[name, *place] for name, place in sounds.items()],
        "told": told,
        "refused": refused,
    }


def _reason(info: tarfile.TarInfo, name: PurePosixPath, sounds: Mapping[str, Any]) -> str:
    """Why an entry of an archive with a sound's name is not used; empty when it is."""
    if name.is_absolute() or ".." in name.parts:
        return "outside"
    if not info.isreg() or info.issparse():
        return "not_a_file"
    if info.name != writable(info.name):
        return "bad_name"
    return "repeated_name" if info.name in sounds else ""


def _sidecar(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Metadata | None:
    """What a caption or a record says; None where it cannot be read."""
    try:
        file = tar.extractfile(info)
        return read_sidecar(info.name, file.read(MAX_SIDECAR_BYTES + 1) if file else b"")
    except ValueError:
        return None


@contextmanager
def _opened(archive: Path | str) -> Iterator[BinaryIO]:
    if isinstance(archive, Path):
        with archive.open("rb") as raw:
            yield raw
        return
    system, path = remote(archive)
    try:
        with system.open(path, "rb", block_size=HEADER_BYTES) as raw:
            yield raw
    except (OSError, EOFError, tarfile.TarError):
        raise
    except Exception as error:  # each kind of store has errors of its own
        raise OSError(f"{archive}: cannot be read ({error})") from error


def read_addresses(path: Path) -> list[str]:
    """Addresses of remote archives in a list.

    Each stands on a line, such as `s3://bucket/set/{00000..00127}.tar`, which stands for 128; `#`
    begins a comment.

    Raises:
        ValueError: naming the line that is no address of a tar archive, or is there twice; or a
            kind of store that cannot be read here.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        text = line.partition("#")[0].strip()
        for address in _expanded(text) if text else []:
            name = address.rpartition("/")[2]
            if not is_remote(address) or not name.endswith(ARCHIVE_SUFFIX):
                raise ValueError(
                    f"{path}:{number}: {address!r} is not the address of a tar archive\n"
                    "  one address a line, such as s3://bucket/sounds/{00000..00127}.tar"
                )
            if name in found:
                raise ValueError(f"{path}:{number}: {name} is the name of another archive, too.")
            found[name] = address
    for one in {address.rpartition("://")[0]: address for address in found.values()}.values():
        remote(one)  # connects to nothing yet
    return list(found.values())


def _expanded(text: str) -> list[str]:
    """Texts that a range in braces stands for, as in WebDataset; the text itself without one."""
    found = BRACES.search(text)
    if not found:
        return [text]
    first, last = found.groups()
    numbers = range(int(first), int(last) + 1)
    if len(numbers) > MAX_ADDRESSES:
        raise ValueError(f"{text}: stands for {len(numbers):,} archives; check the range.")
    head, tail = text[: found.start()], text[found.end() :]
    return [one for n in numbers for one in _expanded(f"{head}{n:0{len(first)}d}{tail}")]


def writable(name: str) -> str:
    """Replace in a name what UTF-8 cannot hold: names on disk may be any bytes."""
    return name.encode("utf-8", "replace").decode("utf-8")
