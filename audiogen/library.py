"""The models that come with audiogen, each in a folder here, found by its name."""

from __future__ import annotations

from pathlib import Path

LIBRARY = Path(__file__).with_name("models")
"""A model folder each, called by the name of the model."""


def library_names() -> list[str]:
    """Return the names of the models that came with audiogen."""
    if not LIBRARY.is_dir():
        return []
    return sorted(folder.name for folder in LIBRARY.iterdir() if (folder / "config.yaml").is_file())


def in_library(path: Path) -> Path | None:
    """Return the folder of the model that `path` is the name of; None where it is a path.

    A file or folder of that name in the current folder comes first: it is what was typed.
    """
    is_name = path.name == str(path) and not path.exists()
    return LIBRARY / path.name if is_name and path.name in library_names() else None
