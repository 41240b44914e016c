"""Runs side by side: one line per run of what `audiogen evaluate` measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audiogen.experiment import ExperimentConfig, load_config
from audiogen.run_folder import RunFolder
from audiogen.storage import read_json, sha256_file

HEADER = (
    "run",
    "method",
    "recognised",
    "Fréchet",
    "diversity",
    "likelihood",
    "s/take",
    "parameters",
)


def scoreboard(runs: Sequence[Path]) -> str:
    """Return a table of evaluated runs, the lines of a few references below it.

    Raises:
        FileNotFoundError: a run was not evaluated.
    """
    metrics = [_metrics(run) for run in runs]
    configs = [load_config(run) for run in runs]
    rows = [
        _row(run, config, found) for run, config, found in zip(runs, configs, metrics, strict=True)
    ]
    notes = [_references(metrics[0])]
    if len({sha256_file(RunFolder(run).manifest) for run in runs}) > 1:
        notes.append("The runs were not trained on the same data: their figures do not compare.")
    if len({json.dumps(found["key"]["evaluate"]) for found in metrics}) > 1:
        notes.append("The runs were not evaluated alike: see evaluate in their config.yaml.")
    return "\n".join([*_lines([HEADER, *rows]), *notes])


def _metrics(run: Path) -> dict[str, Any]:
    file = RunFolder(run).scores
    if not file.is_file():
        raise FileNotFoundError(
            f"{run}: not evaluated\n  expected {file}; `audiogen evaluate {run}` makes it"
        )
    found: dict[str, Any] = read_json(file)
    return found


def _row(run: Path, config: ExperimentConfig, found: Mapping[str, Any]) -> tuple[str, ...]:
    parts = [] if config.generator is None else [config.generator.type]
    return (
        run.name,
        " on ".join([*parts, config.codec.type]),
        _number(found, "recognised", "takes"),
        _number(found, "frechet", "all", "takes"),
        _number(found, "diversity", "all"),
        _likelihood(found),
        _number(found, "sampling", "seconds_per_take"),
        f"{found['parameters'] / 1e6:.1f} M" if "parameters" in found else "-",
    )


def _likelihood(found: Mapping[str, Any]) -> str:
    if "token_likelihood" in found:
        return f"{found['token_likelihood']['held_out']:.0f} bit/s"
    if "bits_per_dimension" in found:
        return f"{found['bits_per_dimension']['held_out']:.2f} bit/dim"
    return "-"


def _references(found: Mapping[str, Any]) -> str:
    """What the figures of `found` lie between."""
    return (
        f"references: recognised, real {_number(found, 'recognised', 'real')} and chance"
        f" {_number(found, 'recognised', 'chance')}; Fréchet, real"
        f" {_number(found, 'frechet', 'all', 'real')} and noise"
        f" {_number(found, 'frechet', 'all', 'noise')}; diversity, real 1"
    )


def _number(tree: Mapping[str, Any], *keys: str) -> str:
    """Return a figure of nested blocks with two digits, a dash where there is none."""
    value: Any = tree
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return f"{value:.2f}" if isinstance(value, int | float) else "-"


def _lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns, the first two to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
