"""Model folders: where a run keeps its model, what names its weights, and what travels with it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from audiogen.seal import sealed_sha256

DOCUMENTS = ("README.md", "ATTRIBUTION.csv", "croissant.json", "judge.safetensors")
"""What tells of a model whose sounds it learnt from, and the recogniser of those sounds where there
is one; copies of the model keep it."""


def find_model(path: Path) -> Path:
    """Return the model folder of a run folder, or `path` itself when it is one."""
    for folder in model_folders(path):
        return folder
    raise FileNotFoundError(
        f"{path}: no finished model here\n"
        "  expected a run folder (with generator/model/) or a model folder; `audiogen train`"
        " makes one"
    )


def model_folders(path: Path) -> list[Path]:
    """Return every model folder of a run folder, the one to use first, or `path` itself."""
    places = (path / "distil" / "model", path / "generator" / "model", path)
    return [folder for folder in places if (folder / "generator.safetensors").is_file()]


def model_digest(folder: Path) -> str:
    """Name the weights of a model folder by sixteen hexadecimal digits.

    They come from the folder's seals; that the files are those, loading the model verifies.

    Raises:
        ValueError: it is not sealed.
    """
    sums = (
        sealed_sha256(folder, "generator.safetensors"),
        sealed_sha256(folder / "codec", "weights.safetensors"),
    )
    return hashlib.sha256("".join(sums).encode()).hexdigest()[:16]


def write_documents(folder: Path, texts: Mapping[str, str], origin: Path | None = None) -> None:
    """Write texts by file name; `DOCUMENTS` that are not given come from the folder `origin`."""
    if origin is not None:
        for name in DOCUMENTS:
            if (origin / name).is_file():
                shutil.copyfile(origin / name, folder / name)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
