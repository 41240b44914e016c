"""The card and the attribution list that travel with a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from audiogen.data.manifest import ManifestRow
from audiogen.pipeline import ModelConfig


def attribution(rows: Sequence[ManifestRow]) -> list[dict[str, str]]:
    """Return one row per training file: path, author, licence and source."""
    return [
        {"path": row.path, "author": row.author, "licence": row.licence, "source": row.source}
        for row in rows
    ]


def model_card(config: ModelConfig, rows: Sequence[ManifestRow]) -> str:
    """Return README.md of a model folder: what it is, what it learnt from, how to use it."""
    hours = sum(row.seconds for row in rows) / 3600
    labels = Counter(row.label or "(none)" for row in rows)
    licences = "\n".join(f"- {name}: {count} files" for name, count in config.licences.items())
    sounds = ", ".join(f"{label} ({count})" for label, count in sorted(labels.items()))
    return f"""# {config.name}

An audiogen model: codec `{config.codec.type}` at {config.codec.sample_rate} Hz,
generator `{config.generator.type}`, trained on windows of {config.clip_seconds:g} s.

## Training sounds

{len(rows)} files, {hours:.2f} hours: {sounds}.

Licences of the training sounds (ATTRIBUTION.csv names each file and its author):

{licences}

## Use

    audiogen sample THIS_FOLDER --prompt "{sorted(labels)[0]}" --seconds 5 --count 4 --out takes

## Limits

It makes sounds like those it was trained on, and knows no others. Long prompts are cut at
{config.text.max_tokens} tokens.
"""
