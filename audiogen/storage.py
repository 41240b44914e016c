"""Files that are there completely or not at all: atomic writes, published folders, tensors.

Everything is written under a temporary name `<name>.tmp-<machine>-<pid>`, flushed to the disk, and
renamed. A process that dies leaves such a temporary behind, never a half-written file under the
real name; `remove_leftovers` clears it away later.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:  # digests and text must not cost the import of torch
    import torch
    from torch import Tensor

_LEFTOVER = re.compile(r".+\.tmp-([0-9a-f]{8})-(\d+)")
_FOREIGN_SECONDS = 24 * 3600
"""Age at which a temporary of another machine, whose processes cannot be seen, counts as dead."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_open_temporaries: set[Path] = set()  # tells this process's live temporaries from a dead namesake's


class DiskError(OSError):
    """A disk that refuses to be written to: where, why, and what to do, in three lines."""

    def __init__(self, place: Path, error: OSError) -> None:
        super().__init__(error.errno, error.strerror)
        self.place = place

    def __str__(self) -> str:
        todo = "the disk may be failing: write to another one"
        if self.errno in _CLOSED:
            todo = "name a folder that you may write to, or change whose this one is"
        elif self.errno in _FULL:
            there = next(
                one for one in (self.place, *self.place.absolute().parents) if one.exists()
            )
            free = shutil.disk_usage(there).free / 1e6
            todo = f"free on that disk: {free:,.0f} MB; make room, or write to another disk"
        return (
            f"{self.place}: could not be written ({self.strerror})\n"
            f"  {todo}; then give the command again\n"
            "  what was finished before stays, and nothing is left half written"
        )


@contextlib.contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn what a disk refuses while `place` is written into a `DiskError` that names it.

    Errors of files that are elsewhere, such as one that is only read, are left as they are.
    """
    try:
        yield
    except DiskError as error:
        if not _belongs(error.place, place):
            raise
        raise DiskError(place, error) from error  # not the temporary inside
    except OSError as error:
        is_here = not isinstance(error.filename, str) or _belongs(Path(error.filename), place)
        if not is_here or error.errno not in {errno.EIO, *_FULL, *_CLOSED}:
            raise
        raise DiskError(place, error) from error


def _belongs(path: Path, place: Path) -> bool:
    """Whether `path` is `place`, its temporary, in one of these, or a folder that they are in."""
    path, folder = path.resolve(), place.parent.resolve()
    if folder.is_relative_to(path):
        return True
    first = path.relative_to(folder).parts[0] if path.is_relative_to(folder) else ""
    return first == place.name or first.startswith((f"{place.name[-200:]}.", f"{place.name}.old-"))


def make_folder(folder: Path) -> None:
    """Make a folder and those that it is in; raises DiskError where that is refused."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """Return the sha256 of a text in UTF-8, that of the file which `atomic_write_text` makes."""
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of(value: object) -> str:
    """Return 16 hexadecimal digits that name `value`, any tree of JSON types.

    Equal trees give equal digests whatever the order of their keys. Raises ValueError for NaN and
    infinity and TypeError for what JSON cannot hold.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; raises what `parse_json` does, and OSError."""
    return parse_json(path.read_bytes(), str(path))


def parse_json(content: str | bytes, source: str) -> Any:
    """Return what JSON means; ValueError names `source` when it is none, or nested too deeply."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError(f"{source}: not valid JSON (nested too deeply)") from None
    except ValueError as error:
        raise ValueError(f"{source}: not valid JSON ({error})") from None


def atomic_write_text(path: Path, text: str) -> None:
    """Replace `path` by UTF-8 `text`; a reader sees the old file or the new one, never a part."""
    atomic_write_bytes(path, text.encode())


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data`; a reader sees the old file or the new one, never a part."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def replacing(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """Give a temporary name to write; on success the file becomes `path`, on failure it vanishes.

    Missing folders are made. Whatever goes wrong, `path` stays as it was; of a disk that refuses,
    `DiskError` says what to do. Who writes thousands of
    files asks for no `flush` of each, and flushes the disk once behind the last.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(path) as temporary:
            yield temporary
            if flush:
                fsync(temporary)
            temporary.replace(path)
        if flush:
            fsync(path.parent)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors, from any device, as safetensors and flush them to the disk.

    Tensors that share memory (tied weights) are written once each. Raises OSError when the disk
    refuses, also where the safetensors library has an error type of its own for that.
    """
    from safetensors import SafetensorError  # noqa: PLC0415 (imports torch)
    from safetensors.torch import save_file  # noqa: PLC0415

    seen: set[int] = set()
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        copy = tensor.detach().cpu().contiguous()
        address = copy.untyped_storage().data_ptr()
        plain[name] = copy.clone() if address in seen else copy
        seen.add(address)
    try:
        save_file(plain, path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number:
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
        raise OSError(f"{path}: {error}") from error
    fsync(path)


def json_tensor(value: object) -> Tensor:
    """Return a JSON value as a tensor of its bytes, to stand among others in one file."""
    import torch  # noqa: PLC0415 (digests and text must not cost its import)

    return torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8)


def json_of_tensor(tensor: Tensor, source: str) -> Any:
    """Return what `json_tensor` was given; ValueError names `source` where it is no JSON."""
    return parse_json(bytes(tensor.tolist()), source)


def narrowed(tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Return weights as a smaller file holds them: matrices and kernels in `dtype`.

    Vectors, which take little room, and whole numbers stay as they are; None leaves everything.
    """
    return {
        name: tensor.to(dtype)
        if dtype is not None and tensor.is_floating_point() and tensor.dim() > 1
        else tensor
        for name, tensor in tensors.items()
    }


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file into CPU memory; ValueError names the file when it is damaged."""
    from safetensors import SafetensorError  # noqa: PLC0415 (imports torch)
    from safetensors.torch import load_file  # noqa: PLC0415

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error


@contextlib.contextmanager
def publish_folder(final: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; on success it becomes `final`, on failure it vanishes.

    Files and folders are flushed to the disk before the rename and the parent after it. A folder
    already at `final` is replaced: it is set aside as `<name>.old-<pid>` for the instant between
    the two renames. When a process dies in that instant, the next call puts it back.

        with publish_folder(run / "model") as folder:
            write_tensors(folder / "weights.safetensors", tensors)
    """
    with writing(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(final.parent)
        _put_back(final)
        with _temporary(final) as temporary:
            temporary.mkdir()
            yield temporary
            for path in sorted(temporary.rglob("*"), reverse=True):
                fsync(path)
            fsync(temporary)
            _exchange(temporary, final)
        fsync(final.parent)
    for old in _set_aside(final):
        shutil.rmtree(old, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Delete a folder so that a crash half-way leaves no damaged folder under its name."""
    with _temporary(folder) as temporary:
        folder.rename(temporary)
        shutil.rmtree(temporary)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporaries in `folder` whose writers are dead."""
    for path in folder.resolve().iterdir():
        match = _LEFTOVER.fullmatch(path.name)
        if match and path not in _open_temporaries and not _is_written(path, match):
            _delete(path)


def temporary_name(name: str) -> str:
    """Return what this process calls `name` until it is complete; see `remove_leftovers`."""
    # File systems allow 255 bytes, and some names use all of them.
    return f"{name[-200:]}.tmp-{_machine()}-{os.getpid()}"


def fsync(path: Path) -> None:
    """Flush a file, or the list of names in a folder, to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open folders and keeps their lists by itself
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _temporary(final: Path) -> Iterator[Path]:
    """Reserve the temporary name of `final`; whatever is left under it is deleted at the end."""
    temporary = final.parent.resolve() / temporary_name(final.name)
    _delete(temporary)
    _open_temporaries.add(temporary)
    try:
        yield temporary
    finally:
        _open_temporaries.discard(temporary)
        _delete(temporary)


def _exchange(temporary: Path, final: Path) -> None:
    """Rename `temporary` to `final`, setting aside what is there; on failure put that back."""
    aside = final.with_name(f"{final.name}.old-{os.getpid()}")
    if final.exists():
        shutil.rmtree(aside, ignore_errors=True)
        final.rename(aside)
    try:
        temporary.rename(final)
    except OSError:
        _put_back(final)
        raise


def _set_aside(final: Path) -> list[Path]:
    """Return the folders that were set aside for `final`, oldest first."""
    prefix = f"{final.name}.old-"
    found = [path for path in final.parent.iterdir() if path.name.startswith(prefix)]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _put_back(final: Path) -> None:
    """Undo the first half of an exchange whose process died before the second half."""
    if not final.exists():
        for aside in _set_aside(final)[-1:]:
            aside.rename(final)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_written(temporary: Path, name: re.Match[str]) -> bool:
    """Say whether the process that made a temporary of another one lives, as far as can be seen."""
    if name[1] == _machine():
        pid = int(name[2])
        return pid != os.getpid() and psutil.pid_exists(pid)
    try:  # on a file system that several machines share
        return time.time() - temporary.stat().st_mtime < _FOREIGN_SECONDS
    except FileNotFoundError:  # renamed just now
        return True


def _machine() -> str:
    """Eight hexadecimal digits that name this machine."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]
