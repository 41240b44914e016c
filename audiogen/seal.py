"""Seals of folders: MANIFEST.json with size and sha256 of each file, so that damage is found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiogen.storage import read_json, sha256_file

FORMAT = 1
MANIFEST = "MANIFEST.json"


class DamagedFolderError(ValueError):
    """A folder does not hold what its manifest promises; the message says where."""


def seal_folder(folder: Path, names: Sequence[str] | None = None) -> None:
    """Write the manifest of a folder whose files are complete.

    Args:
        folder: that nobody reads yet.
        names: of the files that count; others may come, change and go. None is all of them.
    """
    manifest = {"format": FORMAT, "files": _describe(folder, names)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def verify_folder(folder: Path, names: Sequence[str] | None = None) -> None:
    """Compare the files of a folder with its manifest, byte for byte by sha256.

    Args:
        folder: that `seal_folder` was called for.
        names: as there.

    Raises:
        DamagedFolderError: a file is missing, extra, or has changed.
        OSError: a file cannot be read.
    """
    manifest = _read_manifest(folder)
    found = _describe(folder, names)
    if manifest == {"format": FORMAT, "files": found}:
        return
    promised = manifest.get("files")
    if not isinstance(promised, dict):
        raise DamagedFolderError(f"{MANIFEST} lists no files")
    wrong = sorted(name for name in found | promised if found.get(name) != promised.get(name))
    name = wrong[0] if wrong else MANIFEST
    raise DamagedFolderError(
        f"{name} is {found.get(name, 'missing')}, expected {promised.get(name, 'no such file')}"
    )


def require_whole(folder: Path, names: Sequence[str]) -> None:
    """Raise ValueError that says what to do where `verify_folder` finds damage."""
    try:
        verify_folder(folder, names)
    except DamagedFolderError as error:
        raise _not_whole(folder, error) from error


def _not_whole(folder: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{folder}: damaged, or not as audiogen wrote it\n"
        f"  {error if isinstance(error, DamagedFolderError) else MANIFEST + ' lacks a file'}\n"
        "  put a good copy there, or delete the folder and train again"
    )


def sealed_sha256(folder: Path, name: str) -> str:
    """The sha256 of a file by the word of its folder's manifest, without reading the file.

    Raises:
        ValueError: the manifest is not there, not readable, or without that file.
    """
    try:
        return str(_read_manifest(folder)["files"][name]["sha256"])
    except (DamagedFolderError, KeyError, TypeError) as error:
        raise _not_whole(folder, error) from error


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder; DamagedFolderError where there is none to read."""
    try:
        manifest = read_json(folder / MANIFEST)
    except FileNotFoundError:
        raise DamagedFolderError(f"{MANIFEST} is missing") from None
    except ValueError as error:
        raise DamagedFolderError(f"{MANIFEST} is not readable ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DamagedFolderError(f"{MANIFEST} is not of format {FORMAT}")
    return manifest


def _describe(folder: Path, names: Sequence[str] | None) -> dict[str, dict[str, int | str]]:
    """Size and sha256 of the files that are there, by name."""
    if names is None:
        files = sorted(file for file in folder.iterdir() if file.name != MANIFEST)
    else:
        files = [folder / name for name in names if (folder / name).exists()]
    return {
        file.relative_to(folder).as_posix(): {
            "bytes": file.stat().st_size,
            "sha256": sha256_file(file),
        }
        for file in files
    }
