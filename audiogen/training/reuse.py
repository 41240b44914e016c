"""Finished stages of the runs beside a run: what was made with equal settings is not made again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiogen.storage import publish_folder


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
        model = other / stage / "model"
        if other == run or not (model / "settings.json").is_file():
            continue
        if json.loads((model / "settings.json").read_text(encoding="utf-8")) == settings:
            with publish_folder(run / stage / "model") as folder:
                shutil.copytree(model, folder, dirs_exist_ok=True)
            return other
    return None
