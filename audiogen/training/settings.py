"""The settings that a stage's product depends on: nothing else makes it anew."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audiogen.experiment import ExperimentConfig
from audiogen.storage import read_json, sha256_file


def stage_settings(config: ExperimentConfig, stage: str) -> dict[str, Any]:
    """Return what the product of a stage depends on, as JSON."""
    tree = config.model_dump(mode="json")
    settings: dict[str, Any] = {
        "seed": config.seed,
        "codec": config.codec.model_dump(mode="json", exclude={"path"}),  # it may have moved
        "train": {"codec": tree["train"]["codec"]},
        "manifest": sha256_file(config.run.manifest)[:16],
    }
    if stage != "codec":
        settings["generator"] = tree["generator"]
        settings["train"]["generator"] = tree["train"]["generator"]
        settings["text"] = tree["text"]
        settings["data"] = {"clip_seconds": config.data.clip_seconds}
    if stage == "distil":
        settings["distil"] = tree["distil"]
    return settings


def changed_settings(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Return each setting that differs, as "key before -> now"."""
    before, now = _flat(found), _flat(expected)
    pairs = {
        key: (before.get(key, "absent"), now.get(key, "absent")) for key in sorted(before | now)
    }
    return [f"{key} {old} -> {new}" for key, (old, new) in pairs.items() if old != new]


def require_same_settings(
    found: Mapping[str, Any], expected: Mapping[str, Any], place: Path
) -> None:
    """Raise ValueError that names the settings in which `place` differs from this run's."""
    changed = changed_settings(found, expected)
    if changed:
        raise ValueError(
            f"{place}: made with other settings\n"
            f"  {first_few(changed, '; ')}\n"
            "  go on with the old settings, give a new run_dir=, delete that stage's folder,"
            " or, where it is not finished, add --allow-change"
        )


def is_done(config: ExperimentConfig, stage: str) -> bool:
    """Return whether a stage's model is there; ValueError when other settings made it."""
    model = config.run.model(stage)
    if not model.is_dir():
        return False
    found = read_json(model / "settings.json")
    require_same_settings(found, stage_settings(config, stage), model.parent)
    return True


def write_settings(folder: Path, config: ExperimentConfig, stage: str) -> None:
    """Write into the folder of a stage's model what it depends on."""
    text = json.dumps(stage_settings(config, stage), indent=1)
    (folder / "settings.json").write_text(text, encoding="utf-8")


def first_few(texts: Sequence[str], between: str) -> str:
    """Join the first three texts, and say how many more there are."""
    more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
    return between.join(texts[:3]) + more


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted path."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= _flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
