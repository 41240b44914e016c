"""Which models learnt from a sound, so that it can be forgotten; nothing is deleted here."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from audiogen.data.manifest import read_manifest
from audiogen.provenance.attribution import ATTRIBUTION_FILE, read_attribution
from audiogen.run_folder import MANIFEST, WEIGHTS, RunFolder
from audiogen.stage_settings import first_few
from audiogen.storage import first_line, sha256_file
from audiogen.trees import did_you_mean

SHA_PREFIX = re.compile(r"[0-9a-f]{8,64}")

Row = Mapping[str, str]


@dataclass(kw_only=True)
class Uses:
    """Where a sound was used.

    Attributes:
        models: folders of models that were trained on it, with the paths of its files.
        runs: runs whose manifest has it on the training side, with the state they keep of it.
        held_out: runs that kept it for evaluation, with the paths of its files.
        unreadable: what could not be searched, and why.
        searched: number of models and manifests that were read.
    """

    models: dict[Path, list[str]] = field(default_factory=dict)
    runs: dict[Path, list[Path]] = field(default_factory=dict)
    held_out: dict[Path, list[str]] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    searched: int = 0


def find_uses(identifier: str, runs: Path) -> Uses:
    """Look for a sound in everything below a folder of runs.

    Args:
        identifier: The path of the file below its folder of sounds, or the end of that path; the
            path of a file on this disk; the first eight or more digits of its sha256; or a source
            id, which stands for all files of one recording.
        runs: A folder of run folders or model folders.

    Raises:
        ValueError: no identifier, or no such folder.
    """
    if not identifier.strip():
        raise ValueError("data forget: give a path, a sha256 or a source id")
    if not runs.is_dir():
        raise ValueError(
            f"{runs}: there is no such folder{did_you_mean(runs)}\n"
            "  --runs names the folder of your runs"
        )
    is_it, uses = _matcher(identifier), Uses()
    for run in sorted(path.parent for path in runs.rglob(MANIFEST)):
        _look_into_run(RunFolder(run), is_it, uses)
    for folder in _models(runs):
        _look_into_model(folder, is_it, uses)
    return uses


def describe_uses(identifier: str, uses: Uses) -> str:
    """Say in plain text what learnt from the sound, and what to do."""
    lines = []
    if not uses.models and not uses.runs:
        lines.append(f"No model here was trained on {identifier}.")
    if uses.models:
        lines.append(f"Trained on {identifier}:")
        lines += [f"  {folder}   {first_few(paths, ', ')}" for folder, paths in uses.models.items()]
    kept = [str(path) for paths in uses.runs.values() for path in paths]
    if kept:
        lines += ["Kept from training:", *(f"  {path}" for path in kept)]
    if uses.held_out:
        lines.append("Held out, so compared with takes but not trained on:")
        lines += [f"  {run}   {first_few(paths, ', ')}" for run, paths in uses.held_out.items()]
    if uses.models or uses.runs:
        again = " && ".join(f"audiogen train {run}" for run in uses.runs)
        lines += [
            "Nothing was deleted. To forget it:",
            "  1. remove the file from the folder of sounds, and its row from metadata.csv",
            "  2. delete every folder that is named above, and takes that you do not want to keep",
            f"  3. train again: {again or 'the runs that these models come from'}",
            "Copies of these models in other places are not known here.",
        ]
    lines += [f"Could not be searched: {one}" for one in uses.unreadable]
    lines.append(f"{uses.searched} models and manifests were searched.")
    return "\n".join(lines)


def _matcher(identifier: str) -> Callable[[Row], bool]:
    """A function that tells whether a row is of the sound."""
    path = identifier.strip().replace("\\", "/").removeprefix("./")
    digest = identifier.strip().lower()
    is_digest = SHA_PREFIX.fullmatch(digest) is not None
    here = Path(identifier).expanduser()
    bytes_here = sha256_file(here) if here.is_file() else None

    def is_it(row: Row) -> bool:
        return (
            row["path"] == path
            or row["path"].endswith(f"/{path}")
            or row["source_id"] == identifier.strip()
            or (is_digest and row["sha256"].startswith(digest))
            or row["sha256"] == bytes_here
        )

    return is_it


def _look_into_run(run: RunFolder, is_it: Callable[[Row], bool], uses: Uses) -> None:
    """Enter what a run's manifest says."""
    try:
        rows = [row for row in read_manifest(run.manifest) if row.verdict == "used"]
    except (ValueError, OSError) as error:
        uses.unreadable.append(first_line(error))
        return
    uses.searched += 1
    found = [row for row in rows if is_it(dataclasses.asdict(row))]
    if any(row.split == "train" for row in found):
        uses.runs[run.path] = [folder for folder in run.training_state if folder.is_dir()]
    held_out = [row.path for row in found if row.split == "held_out"]
    if held_out:
        uses.held_out[run.path] = held_out


def _models(runs: Path) -> list[Path]:
    """Folders of models that were trained on sounds: those that say so, and those of stages."""
    named = {path.parent for path in runs.rglob(ATTRIBUTION_FILE)}
    weights = {path.parent for path in runs.rglob(WEIGHTS)}
    return sorted(named | {folder for folder in weights if "checkpoints" not in folder.parts})


def _look_into_model(folder: Path, is_it: Callable[[Row], bool], uses: Uses) -> None:
    """Enter what stands beside a model, or else what its run's manifest says of its sounds."""
    accounts: Mapping[Path, Callable[[Path], Sequence[Row]]] = {
        folder / ATTRIBUTION_FILE: read_attribution,
        RunFolder(folder.parent.parent).manifest: _training_rows,
    }
    for path, read in accounts.items():
        if path.is_file():
            try:
                found = [row["path"] for row in read(path) if is_it(row)]
            except (ValueError, OSError) as error:
                if first_line(error) not in uses.unreadable:  # several models have one manifest
                    uses.unreadable.append(first_line(error))
            else:
                uses.searched += 1
                if found:
                    uses.models[folder] = found
                return
    uses.unreadable.append(f"{folder}: nothing beside the model says what it was trained on")


def _training_rows(manifest: Path) -> list[Row]:
    """The sounds of a manifest's training side."""
    return [dataclasses.asdict(row) for row in read_manifest(manifest) if row.split == "train"]
