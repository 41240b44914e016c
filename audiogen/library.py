"""The models that come with audiogen, each in a folder here, found by its name."""

from __future__ import annotations

from pathlib import Path

LIBRARY = Path(__file__).with_name("models")
"""A model folder each, called by the name of the model."""


def library_folders() -> list[Path]:
    """Return the folders of the models that came with audiogen, whose names are theirs."""
    found = LIBRARY.iterdir() if LIBRARY.is_dir() else ()
    return sorted(folder for folder in found if (folder / "config.yaml").is_file())


def in_library(path: Path) -> Path | None:
    """Return the folder of the model that `path` is the name of; None where it is a path.

    A file or folder of that name in the current folder comes first: it is what was typed.
    """
    is_name = path.name == str(path) and not path.exists()
    return next((one for one in library_folders() if is_name and one.name == path.name), None)
