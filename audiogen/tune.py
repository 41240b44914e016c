"""Settings with which a trained model learns a few more sounds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiogen.data.intake.naming import clean_name, says_something
from audiogen.experiment import ExperimentConfig, ModelConfig, load_config
from audiogen.run_folder import CONFIG, find_model
from audiogen.schema import read_config

RECIPE = Path(__file__).with_suffix(".yaml")


def tune_config(
    sounds: Path, model: Path, overrides: Sequence[str] = (), *, label: str = ""
) -> ExperimentConfig:
    """Return the experiment in which a model learns the sounds of a folder.

    Codec, network and window are the model's; training begins with its weights and ends with
    those of the lowest held-out loss.

    Args:
        sounds: the folder.
        model: a run folder, a model folder, or a name of the library.
        overrides: `key.path=value`, over all that is chosen here.
        label: what the sounds are called that nothing tells a label of; where it is empty, the name
            of the folder, if that has a word in it.

    Raises:
        FileNotFoundError: there is no finished model.
        ConfigError: lists the settings that are wrong, by key path.
    """
    trained = read_config(ModelConfig, find_model(model) / CONFIG)
    folder_name = sounds.resolve().name
    chosen: dict[str, Any] = {
        "run_dir": str(Path("runs") / f"tuned-{folder_name}"),
        "codec.path": str(model),
        "start": str(model),
        "text": trained.text.model_dump(mode="json"),
        "generator": {"type": trained.generator.type},
        "sample": trained.sample.model_dump(mode="json"),
        "data.path": str(sounds),
        "data.clip_seconds": trained.clip_seconds,
        "data.label": label or (clean_name(folder_name) if says_something(folder_name) else ""),
    }
    settings = [f"{key}={json.dumps(value)}" for key, value in chosen.items()]
    return load_config(RECIPE, [*settings, *overrides])
