"""What a stage's product depends on: settings and sounds; nothing else makes it anew."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audiogen.data.manifest import ManifestRow, changes, manifest_text, read_manifest
from audiogen.experiment import ExperimentConfig, Stage
from audiogen.run_folder import RunFolder
from audiogen.storage import read_json, sha256_file, sha256_text

SOUNDS = "manifest"
"""The key of what names the sounds."""


def stage_settings(config: ExperimentConfig, stage: str) -> dict[str, Any]:
    """Return what the product of a stage depends on, as JSON; the run's manifest is there."""
    return {**_own_settings(config, stage), SOUNDS: _sounds_of(config.run)}


def is_done(config: ExperimentConfig, stage: str) -> bool:
    """Return whether a stage's model is there; ValueError when other settings made it."""
    found = _made_with(config.run, stage)
    if found is None:
        return False
    require_same_settings(found, stage_settings(config, stage), config.run.model(stage).parent)
    return True


def require_same_run(
    config: ExperimentConfig,
    begun: Mapping[str, Mapping[str, Any]],
    rows: Sequence[ManifestRow] | None = None,
) -> None:
    """Raise ValueError where a stage was made with other settings, or from other sounds.

    Args:
        config: of the run, as it is asked for now.
        begun: what stages that have begun were made with.
        rows: of the manifest, as the sounds are now; None leaves them out.
    """
    run = config.run
    for stage in config.stages:
        found = _made_with(run, stage) or begun.get(stage)
        if found is None:
            continue
        wanted = {**_own_settings(config, stage), SOUNDS: found.get(SOUNDS)}
        require_same_settings(found, wanted, run.model(stage).parent)
        if rows is not None and found.get(SOUNDS) != _name(manifest_text(rows)):
            is_known = run.manifest.is_file() and found.get(SOUNDS) == _sounds_of(run)
            what = changes(read_manifest(run.manifest), rows) if is_known else []
            raise ValueError(
                f"{run.model(stage).parent}: made from other sounds; nothing was changed\n"
                f"  since then: {'; '.join(what) or 'the manifest has become another'}\n"
                "  put the sounds back as they were, or give a new run_dir="
            )


def require_known_sounds(run: RunFolder, stage: Stage) -> None:
    """Raise ValueError where the manifest is not that of the sounds which a model learnt from."""
    found = _made_with(run, stage)
    if found is not None and found.get(SOUNDS) != _sounds_of(run):
        raise ValueError(
            f"{run.manifest}: not of the sounds that {run.model(stage)} learnt from\n"
            "  what it calls held out may have been learnt; put the manifest back, or train anew"
        )


def changed_settings(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Return each setting that differs, as "key before -> now"."""
    before, now = _flat(found), _flat(expected)
    pairs = {
        key: (before.get(key, "absent"), now.get(key, "absent")) for key in sorted(before | now)
    }
    return [
        "the sounds are others" if key == SOUNDS else f"{key} {old} -> {new}"
        for key, (old, new) in pairs.items()
        if old != new
    ]


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


def write_settings(folder: Path, config: ExperimentConfig, stage: str) -> None:
    """Write into the folder of a stage's model what it depends on."""
    text = json.dumps(stage_settings(config, stage), indent=1)
    (folder / "settings.json").write_text(text, encoding="utf-8")


def first_few(texts: Sequence[str], between: str) -> str:
    """Join the first three texts, and say how many more there are."""
    more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
    return between.join(texts[:3]) + more


def _own_settings(config: ExperimentConfig, stage: str) -> dict[str, Any]:
    """What the product of a stage depends on beside the sounds."""
    tree = config.model_dump(mode="json")
    codec_start = config.train.codec.start
    if codec_start is not None:
        tree["train"]["codec"]["start"] = codec_start.digest  # it may have moved
    settings: dict[str, Any] = {
        "seed": config.seed,
        "codec": config.codec.model_dump(mode="json", exclude={"path"}),  # it may have moved
        "train": {"codec": tree["train"]["codec"]},
    }
    if stage != "codec":
        settings["generator"] = tree["generator"]
        settings["start"] = "" if config.start is None else config.start.digest
        settings["train"]["generator"] = tree["train"]["generator"]
        train = config.train
        settings["train"]["kept"] = (
            [train.held_out_clips, train.demo_every] if train.keep_best else "last"
        )
        settings["text"] = tree["text"]
        settings["data"] = {"clip_seconds": config.data.clip_seconds}
    if stage == "distil":
        settings["distil"] = tree["distil"]
    return settings


def _made_with(run: RunFolder, stage: str) -> dict[str, Any] | None:
    """What the stage's model depended on; None where there is none yet."""
    file = run.model(stage) / "settings.json"
    found: dict[str, Any] | None = read_json(file) if file.parent.is_dir() else None
    return found


def _sounds_of(run: RunFolder) -> str:
    return sha256_file(run.manifest)[:16]


def _name(manifest: str) -> str:
    return sha256_text(manifest)[:16]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted path."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= _flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
