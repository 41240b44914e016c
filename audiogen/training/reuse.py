"""Finished stages of the runs beside a run: what was made with equal settings is not made again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from audiogen.run_folder import RunFolder
from audiogen.storage import atomic_write_text, publish_folder, read_json


def adopt_stage(run: Path, stage: str, settings: Mapping[str, Any]) -> Path | None:
    """Copy the model of `stage` from a run in the same folder that made it with equal settings.

    Args:
        run: that lacks the stage.
        stage: "codec", "generator" or "distil".
        settings: all that the stage's product depends on.

    Returns:
        The run it was taken from, the first by name; None when there is none.
    """
    for other in sorted(run.parent.iterdir()):
        model = RunFolder(other).model(stage)
        if other != run and _settings_of(model) == settings:
            with publish_folder(RunFolder(run).model(stage)) as folder:
                shutil.copytree(model, folder, dirs_exist_ok=True)
            _copy_records(other, run, stage)
            return other
    return None


def _settings_of(model: Path) -> object:
    """What a model was made with; None where there is none, or it is not ours to read."""
    try:
        return cast("object", read_json(model / "settings.json"))
    except (OSError, ValueError):
        return None


def _copy_records(source: Path, run: Path, stage: str) -> None:
    """Copy the curves and demos of a stage, so that the report shows how its model was trained."""
    metrics = RunFolder(source).metrics
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else []
    own = [line for line in lines if f'"stage": "{stage}"' in line]
    if own:
        target = RunFolder(run).metrics
        before = target.read_text(encoding="utf-8") if target.is_file() else ""
        atomic_write_text(target, before + "".join(f"{line}\n" for line in own))
    demos = Path("demos") / stage
    if (source / demos).is_dir():
        shutil.copytree(source / demos, run / demos, dirs_exist_ok=True)
