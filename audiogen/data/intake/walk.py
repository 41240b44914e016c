"""The one walk over a folder of sounds: what is looked at, and what is left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from audiogen.run_folder import PREPARED, WEIGHTS

OWN_OUTPUT = frozenset({PREPARED, WEIGHTS, "job.jsonl"})
"""A folder with one of these is a run, a model or a pack: nobody wants to learn from its takes."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, as those that macOS leaves beside every file."""
    return name.startswith(".")


def walk(
    root: Path,
    *,
    own: Path | None = None,
    refuse: Callable[[str, str], None] = lambda path, reason: None,
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield each folder with the names of its folders and files, sorted, hidden ones left out.

    Links are followed, but no folder is entered twice. Folders that this program has written are
    left out, but for `root` itself.

    Args:
        root: where it begins.
        own: the run that asks, which may lie in `root`.
        refuse: is told of the folders that are not entered, by posix path below `root`, and of the
            reason: unreadable_folder or own_output.
    """
    seen: set[tuple[int, int]] = set()
    ours = None if own is None else own.resolve()

    def unreadable(error: OSError) -> None:
        refuse(Path(error.filename).relative_to(root).as_posix(), "unreadable_folder")

    for name, subfolders, files in os.walk(root, onerror=unreadable, followlinks=True):
        here = Path(name)
        status = here.stat()
        is_own = here != root and (here.resolve() == ours or not OWN_OUTPUT.isdisjoint(files))
        if is_own:
            refuse(here.relative_to(root).as_posix(), "own_output")
        if is_own or (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(sub for sub in subfolders if not is_hidden(sub))
        yield here, subfolders, sorted(file for file in files if not is_hidden(file))
