"""What travels with a model: what it says about itself, its card, and whose sounds it learnt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import yaml

from audiogen.codecs import CodecConfig
from audiogen.conditioning.controls import describe_range
from audiogen.data.intake.licences import LicenceTerms
from audiogen.data.manifest import ManifestRow
from audiogen.experiment import ExperimentConfig, ModelConfig
from audiogen.generators import GeneratorConfig
from audiogen.provenance.attribution import ATTRIBUTION_FILE, attribution_csv, read_attribution
from audiogen.provenance.croissant import CROISSANT_FILE, croissant_json

CARD_FILE = "README.md"
TEXTS: Mapping[str, str] = yaml.safe_load(
    Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
)


def model_config(
    config: ExperimentConfig,
    generator: GeneratorConfig,
    codec: CodecConfig,
    rows: Sequence[ManifestRow],
    before: Sequence[Mapping[str, str]] = (),
) -> ModelConfig:
    """What the model of an experiment says about itself.

    Args:
        config: The settings of the experiment.
        generator: The generator's settings, with the ranges of its controls.
        codec: The settings of the codec itself; those of a saved codec stand in its folder.
        rows: The training files.
        before: What the model that training began from had learnt from, see `learnt_before`.
    """
    return ModelConfig(
        name=config.name,
        codec=codec,
        text=config.text,
        generator=generator,
        sample=config.sample,
        clip_seconds=config.data.clip_seconds,
        licences=count_licences(rows, before),
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


def learnt_before(model: Path, rows: Sequence[ManifestRow]) -> list[dict[str, str]]:
    """Return the sounds that the model which training began from had learnt from.

    Args:
        model: Its folder. Without a table of attributions in it, nothing is known of its sounds.
        rows: The training files; sounds that are among them, too, are left out.
    """
    table, own = model / ATTRIBUTION_FILE, {row.sha256 for row in rows}
    found = read_attribution(table) if table.is_file() else []
    return [row for row in found if row["sha256"] not in own]


def require_allowed(folder: Path, terms: LicenceTerms, *, key: str) -> None:
    """Raise ValueError when a codec or model learnt from sounds that `terms` do not allow.

    Args:
        folder: Where it lies. Without a table of attributions there, nothing is known of its
            sounds.
        terms: The licence terms of the run that takes it.
        key: The setting that names it.
    """
    table = folder / ATTRIBUTION_FILE
    rows = read_attribution(table) if table.is_file() else []
    refused = sorted(
        {row["licence"] or "no licence" for row in rows if terms.refusal(row["licence"])}
    )
    if refused:
        raise ValueError(
            f"{key}: it learnt from sounds of {', '.join(refused)}\n"
            f"  data.licence_policy={terms.licence_policy} does not allow that\n"
            "  take another one, train it on your own sounds, or change the policy"
        )


def count_licences(
    rows: Sequence[ManifestRow], before: Sequence[Mapping[str, str]] = ()
) -> dict[str, int]:
    """Files by licence, in the order of the names."""
    names = [*(row.licence for row in rows), *(row["licence"] for row in before)]
    return dict(sorted(Counter(name or "unknown" for name in names).items()))


def documents(
    name: str,
    card: str,
    rows: Sequence[ManifestRow],
    terms: LicenceTerms | None,
    before: Sequence[Mapping[str, str]] = (),
) -> dict[str, str]:
    """The files beside the weights, by name: the card, and the sounds as a table and as Croissant.

    The sounds are the training files and those that were learnt from `before`.
    """
    today, table = datetime.now(UTC).date(), attribution_csv(rows, before)
    return {
        CARD_FILE: card,
        ATTRIBUTION_FILE: table,
        CROISSANT_FILE: croissant_json(name, table, _policy(terms), published=today),
    }


def model_card(
    config: ModelConfig,
    rows: Sequence[ManifestRow],
    before: Sequence[Mapping[str, str]] = (),
    start: str = "",
) -> str:
    """Return README.md of a model folder: what it is, what it learnt from, how to use it.

    Args:
        config: What the model says of itself.
        rows: The training files.
        before: What the model that training began from had learnt from.
        start: What that model is called; empty where there was none.
    """
    return TEXTS["model"].format(
        config=config,
        prompt=min((row.label for row in rows if row.label), default="rain"),
        sounds=_sounds(rows, config.terms),
        start=_start(start, before),
        codec_licence=_codec_licence(config),
        controls=_controls(config),
    )


def mix_card(config: ModelConfig, base: str, parts: Sequence[tuple[str, float]]) -> str:
    """Return the beginning of README.md of a model with adapters, before that of its base.

    Args:
        config: What the model says of itself.
        base: What the model is called that the adapters are added to.
        parts: What each adapter is called, and its weight.
    """
    return TEXTS["mix"].format(
        config=config,
        base=base,
        parts="\n".join(f"- `{name}`, weight {weight:g}" for name, weight in parts),
        licences="\n".join(f"- {name}: {n} files" for name, n in config.licences.items()),
        policy=_policy(config.terms),
    )


def codec_card(
    config: ExperimentConfig,
    rows: Sequence[ManifestRow],
    before: Sequence[Mapping[str, str]] = (),
) -> str:
    """Return README.md of the folder of a codec that was trained here.

    Args:
        config: The settings of the experiment.
        rows: The training files.
        before: What the codec that training began from had learnt from.
    """
    start = config.train.codec.start
    name = "" if start is None else start.path.name
    return TEXTS["codec"].format(
        config=config, sounds=_sounds(rows, config.terms), start=_start(name, before)
    )


def _controls(config: ModelConfig) -> str:
    """What can be asked of a take besides the prompt, a line each; empty where nothing can."""
    ranges = config.generator.conditioner.ranges
    listed = "\n".join(f"- {describe_range(name, span)}" for name, span in ranges.items())
    return TEXTS["controls"].format(ranges=listed) if ranges else ""


def _sounds(rows: Sequence[ManifestRow], terms: LicenceTerms | None) -> str:
    """The section on the training sounds: how many of what, under which licences and policy."""
    labels = Counter(row.label or "(none)" for row in rows)
    return TEXTS["sounds"].format(
        files=len(rows),
        hours=sum(row.seconds for row in rows) / 3600,
        labels=", ".join(f"{label} ({count})" for label, count in sorted(labels.items())),
        policy=_policy(terms),
        licences="\n".join(f"- {name}: {n} files" for name, n in count_licences(rows).items()),
    )


def _policy(terms: LicenceTerms | None) -> str:
    """The licence policy and the statements made with it, in sentences."""
    return "Nobody stated a licence policy." if terms is None else terms.describe()


def _start(name: str, before: Sequence[Mapping[str, str]]) -> str:
    """The section on the model that training began from; empty where there was none."""
    if not name:
        return ""
    if not before:
        return TEXTS["start_alone"].format(name=name)
    counts = count_licences([], before)
    return TEXTS["start"].format(
        name=name,
        files=len(before),
        licences="\n".join(f"- {licence}: {number} files" for licence, number in counts.items()),
    )


def _codec_licence(config: ModelConfig) -> str:
    """The section on a codec that others trained, or on other sounds; empty for the model's own."""
    if not config.codec_licence:
        return ""
    kind = "codec_of_others" if config.codec.origin else "codec_trained_before"
    return TEXTS[kind].format(config=config)
