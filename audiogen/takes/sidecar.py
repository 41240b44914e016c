"""What is written beside a take, and what it is called."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from audiogen.generators import SamplingConfig
from audiogen.pipeline import Pipeline
from audiogen.storage import read_json


def take_sidecar(
    pipeline: Pipeline, prompt: str, seed: int, seconds: float, sampling: SamplingConfig
) -> dict[str, Any]:
    """What a take's JSON file tells: all that is needed to make it again, and whose sounds."""
    terms = pipeline.config.terms
    sidecar = {
        "prompt": prompt,
        "label": "",
        "seed": seed,
        "seconds": seconds,
        "sample_rate": pipeline.codec.spec.sample_rate,
        "sampling": sampling.model_dump(mode="json"),
        "model": pipeline.config.name,
        "model_digest": pipeline.digest,
        "licences": dict(pipeline.config.licences),
        "licence_policy": "" if terms is None else terms.licence_policy,
        "i_own_these": terms is not None and terms.i_own_these,
    }
    if pipeline.config.codec_licence:
        sidecar["codec_licence"] = pipeline.config.codec_licence
    return sidecar


def take_slug(prompt: str) -> str:
    """Return at most 48 of [a-z0-9-] that tell a prompt in a file name."""
    slug = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:48].strip("-")
    return slug or "take"


def read_sidecar(sound: Path) -> dict[str, Any]:
    """Return what the JSON beside a sound tells; empty where there is none.

    Raises:
        ValueError: it is not a JSON object.
    """
    path = sound.with_suffix(".json")
    if not path.is_file():
        return {}
    try:
        told = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path}: not the JSON file of a take.\n  {error}") from None
    if not isinstance(told, dict):
        raise ValueError(f"{path}: not the JSON file of a take; expected a JSON object.")
    return told
