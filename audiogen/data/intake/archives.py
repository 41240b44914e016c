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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from audiogen.audio.io.decoding import AUDIO_SUFFIXES, AudioReadError
from audiogen.audio.io.member import is_remote, remote
from audiogen.data.intake.beside import (
    LICENCE_BYTES,
    LICENCE_FILE,
    MAX_SIDECAR_BYTES,
    SIDECAR_SUFFIXES,
    OwnOutputError,
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

    Nothing is unpacked, and files that are neither sounds nor beside one, nor called as licences
    are, are not opened.

    Returns:
        sounds: [name, offset, number of bytes] of each file with a sound's suffix.
        told: by name of a sound, what the `.json` or `.txt` beside it says, as `Metadata`.
        refused: [name, reason] of each that cannot be used.
        licences: by name of a file called LICENSE or the like, how it begins.
        others: names of files of other kinds, and of texts that stand beside no sound.

    Raises:
        AudioReadError: it is no uncompressed tar archive, or ends too early.
    """
    sounds: dict[str, tuple[int, int]] = {}
    beside: dict[str, Metadata | str] = {}  # or the reason why its sound is not used
    refused: list[tuple[str, str]] = []
    licences: dict[str, str] = {}
    others: list[str] = []
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
                elif LICENCE_FILE.match(name.name) and info.isreg():
                    licences[writable(info.name)] = _beginning(tar, info, LICENCE_BYTES).decode(
                        errors="replace"
                    )
                elif name.suffix.lower() in SIDECAR_SUFFIXES and info.isreg():
                    beside[info.name] = _sidecar(tar, info)
                else:
                    others.append(writable(info.name))
    except (tarfile.TarError, EOFError) as error:
        raise AudioReadError(archive, "bad_archive", str(error)) from None
    told, unfit, unread = _told(sounds, beside)
    for sound, _ in unfit:
        del sounds[sound]
    return {
        "sounds": [[name, *place] for name, place in sounds.items()],
        "told": told,
        "refused": [*refused, *unfit],
        "licences": licences,
        "others": [*others, *map(writable, unread)],
    }


def _told(
    sounds: Iterable[str], beside: Mapping[str, Metadata | str]
) -> tuple[dict[str, Mapping[str, Any]], list[tuple[str, str]], list[str]]:
    """What is told of each sound, those that cannot be used and why, and texts that tell of none.

    Args:
        sounds: their names.
        beside: what each text says, or the reason why its sound is not used.
    """
    told, unfit = dict[str, Mapping[str, Any]](), list[tuple[str, str]]()
    names, unread = by_any_case(beside), set(beside)
    for sound in sounds:
        own_names = sidecars(sound, names)
        unread.difference_update(own_names)
        records = [beside[name] for name in own_names]
        reasons = [record for record in records if isinstance(record, str)]
        if reasons:
            unfit.append((sound, reasons[0]))
        else:
            known = [record for record in records if isinstance(record, Metadata)]
            own = functools.reduce(joined, known, Metadata(file=sound))
            told[sound] = {**own.to_record(), "file": sound}
    return told, unfit, sorted(unread)


def _reason(info: tarfile.TarInfo, name: PurePosixPath, sounds: Mapping[str, Any]) -> str:
    """Why an entry of an archive with a sound's name is not used; empty when it is."""
    if name.is_absolute() or ".." in name.parts:
        return "outside"
    if not info.isreg() or info.issparse():
        return "not_a_file"
    if info.name != writable(info.name):
        return "bad_name"
    return "repeated_name" if info.name in sounds else ""


def _sidecar(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Metadata | str:
    """What a caption or a record says, or the reason why its sound is not used."""
    try:
        return read_sidecar(info.name, _beginning(tar, info, MAX_SIDECAR_BYTES + 1))
    except OwnOutputError:
        return "own_output"
    except ValueError:
        return "bad_caption"


def _beginning(tar: tarfile.TarFile, info: tarfile.TarInfo, num_bytes: int) -> bytes:
    """The first bytes of a member."""
    file = tar.extractfile(info)
    return file.read(num_bytes) if file else b""


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
