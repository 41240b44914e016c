"""What travels with a model: what it says about itself, its card, and whose sounds it learnt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from audiogen.codecs import CodecConfig
from audiogen.conditioning.controls import describe_range
from audiogen.data.intake.licences import LicenceTerms
from audiogen.data.manifest import ManifestRow
from audiogen.experiment import ExperimentConfig, ModelConfig
from audiogen.generators import GeneratorConfig
from audiogen.provenance.attribution import (
    ATTRIBUTION_FILE,
    attribution_csv,
    read_attribution,
)
from audiogen.provenance.croissant import CROISSANT_FILE, croissant_json

CARD_FILE = "README.md"


def model_config(
    config: ExperimentConfig,
    generator: GeneratorConfig,
    codec: CodecConfig,
    rows: Sequence[ManifestRow],
) -> ModelConfig:
    """What the model of an experiment says about itself.

    Args:
        config: The settings of the experiment.
        generator: The generator's settings, with the ranges of its controls.
        codec: The settings of the codec itself; those of a saved codec stand in its folder.
        rows: The training files.
    """
    return ModelConfig(
        name=config.name,
        codec=codec,
        text=config.text,
        generator=generator,
        sample=config.sample,
        clip_seconds=config.data.clip_seconds,
        licences=count_licences(rows),
        terms=config.terms,
        codec_licence=_licence_of(codec, config, rows),
    )


def _licence_of(codec: CodecConfig, config: ExperimentConfig, rows: Sequence[ManifestRow]) -> str:
    """Licences of a codec that learnt from other sounds than `rows`, or that others trained."""
    table = config.run.model("codec") / ATTRIBUTION_FILE
    if not table.is_file():
        is_handed_on = config.codec.type != codec.type
        return codec.licence or ("not stated" if is_handed_on else "")
    if table.read_bytes().decode("utf-8") == attribution_csv(rows):
        return ""
    counts = Counter(row["licence"] or "unknown" for row in read_attribution(table))
    return ", ".join(f"{name} ({count} files)" for name, count in sorted(counts.items()))


def require_allowed(codec: Path, terms: LicenceTerms) -> None:
    """Raise ValueError when a codec learnt from sounds that may not be used under `terms`.

    Args:
        codec: The folder of the codec. Without a table of attributions in it, nothing is known of
            its sounds.
        terms: The licence terms of the run that takes it.
    """
    table = codec / ATTRIBUTION_FILE
    rows = read_attribution(table) if table.is_file() else []
    refused = sorted(
        {row["licence"] or "no licence" for row in rows if terms.refusal(row["licence"])}
    )
    if refused:
        raise ValueError(
            f"codec.path: the codec learnt from sounds of {', '.join(refused)}\n"
            f"  data.licence_policy={terms.licence_policy} does not allow that\n"
            "  take another codec, train one on your own sounds, or change the policy"
        )


def count_licences(rows: Sequence[ManifestRow]) -> dict[str, int]:
    """Files by licence, in the order of the names."""
    return dict(sorted(Counter(row.licence or "unknown" for row in rows).items()))


def documents(
    name: str, card: str, rows: Sequence[ManifestRow], terms: LicenceTerms
) -> dict[str, str]:
    """The files beside the weights, by name: the card, the attributions and the Croissant."""
    today = datetime.now(UTC).date()
    return {
        CARD_FILE: card,
        ATTRIBUTION_FILE: attribution_csv(rows),
        CROISSANT_FILE: croissant_json(name, rows, terms, published=today),
    }


def model_card(config: ModelConfig, rows: Sequence[ManifestRow]) -> str:
    """Return README.md of a model folder: what it is, what it learnt from, how to use it."""
    prompt = min((row.label for row in rows if row.label), default="rain")
    return f"""# {config.name}

An audiogen model: codec `{config.codec.type}` at {config.codec.sample_rate} Hz,
generator `{config.generator.type}`, trained on windows of {config.clip_seconds:g} s.

{_sounds(rows, config.terms)}{_codec_licence(config)}
## Use

    audiogen sample THIS_FOLDER --prompt "{prompt}" --seconds 5 --count 4 --out takes

`audiogen whois TAKE.wav --model THIS_FOLDER` says of a take whose sounds are behind it.
{_controls(config)}
## Limits

It makes sounds like those it was trained on, and knows no others. Long prompts are cut at
{config.text.max_tokens} tokens.
"""


def _controls(config: ModelConfig) -> str:
    """What can be asked of a take besides the prompt, a line each; empty where nothing can."""
    ranges = config.generator.conditioner.ranges
    if not ranges:
        return ""
    listed = "\n".join(f"- {describe_range(name, span)}" for name, span in ranges.items())
    return f"\n`--control NAME=VALUE` asks for a sound that measures so:\n\n{listed}\n"


def codec_card(config: ExperimentConfig, rows: Sequence[ManifestRow]) -> str:
    """Return README.md of the folder of a codec that was trained here."""
    codec = config.codec
    return f"""# {config.name}, codec

An audiogen codec of type `{codec.type}` at {codec.sample_rate} Hz.

{_sounds(rows, config.terms)}"""


def _sounds(rows: Sequence[ManifestRow], terms: LicenceTerms | None) -> str:
    """The section on the training sounds: how many of what, under which licences and policy."""
    hours = sum(row.seconds for row in rows) / 3600
    labels = Counter(row.label or "(none)" for row in rows)
    sounds = ", ".join(f"{label} ({count})" for label, count in sorted(labels.items()))
    licences = "\n".join(f"- {name}: {count} files" for name, count in count_licences(rows).items())
    policy = "Nobody stated a licence policy." if terms is None else terms.describe()
    return f"""## Training sounds

{len(rows)} files, {hours:.2f} hours: {sounds}.

{policy}

Licences of the training sounds ({ATTRIBUTION_FILE} names each file, its author and source;
{CROISSANT_FILE} says the same to machines):

{licences}
"""


def _codec_licence(config: ModelConfig) -> str:
    """The section on a codec that others trained, or on other sounds; empty for the model's own."""
    codec = config.codec
    if not config.codec_licence:
        return ""
    if not codec.origin:
        return f"""
## Licence of the codec

The codec was trained before, on sounds of its own: {config.codec_licence}. Where they are known,
`codec/{ATTRIBUTION_FILE}` names each file.
"""
    return f"""
## Licence of the codec

The codec is `{codec.origin}`, trained by others. Licence of its weights: {config.codec_licence}.
It also holds for the copy in `codec/`, and the licence policy above says nothing about it.
"""
