"""The command that says which models are at hand, and which words each of them knows."""
# ruff: noqa: PLC0415 - a command imports what it needs, so that --help never waits for torch

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from audiogen.cli.options import BASE, Model, Runs

models = typer.Typer()

LABELS_SHOWN = 12
"""Of a model in the list of all; with its name, all are shown."""
CHANNELS = {1: "mono", 2: "stereo"}


@models.command(name="models")
def list_models(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL...", help="Run folders or names, to see all their words."),
    ] = None,
    *,
    runs: Runs = Path("runs"),
) -> None:
    """Say which models are at hand, and which words each knows.

    Those that came with audiogen, and those of your runs.
    """
    from audiogen.run_folder import find_model

    if names:
        for name in names:
            typer.echo(_described(name, find_model(Path(name)), whole=True))
        return
    found = dict(_at_hand(runs))
    for name, folder in found.items():
        typer.echo(_described(name, folder, whole=False))
    if not found:
        typer.echo(f"no model came with audiogen, and there is none in {runs}; `audiogen train`")


@models.command()
def mix(
    adapters: Annotated[
        list[str],
        typer.Argument(metavar="RUN=WEIGHT...", help="Tuned runs; 1 is as it was tuned."),
    ],
    *,
    model: Model = BASE,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the model goes.")],
) -> None:
    """Add what tuned models have learnt to the model they began from.

    Each by a weight: less of it below 1, more above.
    """
    parts = [_part(text) for text in adapters]
    from audiogen.adapter import mix as write_mix

    write_mix(model, parts, out)
    typer.echo(f"model: {out}")


def _part(text: str) -> tuple[Path, float]:
    """A run and its weight, 1 where none is given."""
    path, equals, weight = text.rpartition("=")
    try:
        number = float(weight) if equals else 1.0
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise typer.BadParameter(f"{text}: expected RUN=WEIGHT, such as runs/tuned-glass=0.7")
    return Path(path if equals else text), number


def _at_hand(runs: Path) -> Iterator[tuple[str, Path]]:
    """Yield the models of the library and of runs: what each is called by, and its folder."""
    from audiogen.library import library_folders
    from audiogen.run_folder import model_folders

    for folder in library_folders():
        yield folder.name, folder
    for run in sorted(runs.iterdir()) if runs.is_dir() else ():
        for folder in model_folders(run)[:1]:
            yield str(run), folder


def _described(name: str, folder: Path, *, whole: bool) -> str:
    """What a model is, and its labels and words with how many training sounds had them."""
    from audiogen.conditioning.vocabulary import Vocabulary
    from audiogen.limits import MAX_WINDOWS, MIN_SECONDS
    from audiogen.run_folder import CONFIG, WORDS
    from audiogen.trees import read_yaml, value_at

    config: dict[str, Any] = read_yaml(folder / CONFIG)
    rate, channels, window, family = (
        value_at(config, key)
        for key in ("codec.sample_rate", "codec.audio_channels", "clip_seconds", "generator.type")
    )
    most = MAX_WINDOWS * float(window or 0)
    lines = [
        f"{name}: {family}, {int(rate or 0) / 1000:g} kHz, {CHANNELS.get(channels, channels)},"
        f" takes of {MIN_SECONDS:g} to {most:g} s"
    ]
    if not (folder / WORDS).is_file():
        return f"{lines[0]}\n  its words were not counted"
    words = Vocabulary.read(folder / WORDS)
    shown = None if whole else LABELS_SHOWN
    lines.append(f"  {len(words.labels)} labels: {_counted(words.labels, shown)}")
    if whole:
        lines.append(f"  {len(words.words)} words: {_counted(words.words, None)}")
    else:
        lines.append(f"  {len(words.words)} words; `audiogen models {name}` shows all")
    return "\n".join(lines)


def _counted(counts: Mapping[str, int], most: int | None) -> str:
    """The first of them with their numbers, and how many more there are."""
    listed = [f"{word} ({count})" for word, count in counts.items()]
    more = f" and {len(listed) - most} more" if most and len(listed) > most else ""
    return ", ".join(listed[:most]) + more
