"""Model folders: where a run keeps its model, and what names its weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

from audiogen.storage import sha256_file


def find_model(path: Path) -> Path:
    """Return the model folder of a run folder, or `path` itself when it is one."""
    for folder in (path / "distil" / "model", path / "generator" / "model", path):
        if (folder / "generator.safetensors").is_file():
            return folder
    raise FileNotFoundError(
        f"{path}: no finished model here\n"
        "  expected a run folder (with generator/model/) or a model folder; `audiogen train`"
        " makes one"
    )


def model_digest(folder: Path) -> str:
    """Name the weights of a model folder by sixteen hexadecimal digits."""
    files = (folder / "generator.safetensors", folder / "codec" / "weights.safetensors")
    return hashlib.sha256("".join(sha256_file(file) for file in files).encode()).hexdigest()[:16]
