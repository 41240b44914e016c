"""What several commands ask for in the same words."""
# ruff: noqa: PLC0415 - a command imports what it needs, so that --help never waits for torch

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiogen.limits import MAX_SEED, MAX_WINDOWS, MIN_SECONDS

if TYPE_CHECKING:
    from audiogen.take_request import Tempo

MAX_TAKES = 100_000  # of a prompt, in one command


def finite(value: float | None) -> float | None:
    """Return the number of an option.

    Raises:
        typer.BadParameter: it is nan or infinite, which ranges let pass.
    """
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no finite number")
    return value


BASE = Path("base")
"""The model that comes with audiogen, by its name."""
A_MODEL = "A run folder, such as runs/diffusion, or a name of `audiogen models`"
Model = Annotated[Path, typer.Option("--model", metavar="RUN", help=f"{A_MODEL}.")]
SoundFile = Annotated[Path, typer.Argument(metavar="FILE", help="A sound; it is only read.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Solver steps.  [default: the recipe's]")]
BatchSize = Annotated[
    int, typer.Option(min=1, help="Takes made at once; it does not change their sound.")
]
Bpm = Annotated[
    float | None,
    typer.Option(min=1, max=999, callback=finite, help="Tempo of a loop whose length is in bars."),
]
Bars = Annotated[int | None, typer.Option(min=1, max=10_000, help="Bars of such a loop.")]
Device = Annotated[
    str,
    typer.Option(help="Where the model runs: auto (the GPU, if there is one), cpu, cuda:1 ..."),
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="The folder of your runs.")]


def seed_option(what: str) -> Any:
    """Return the option of a seed, whose help says what it is of."""
    return typer.Option(min=0, max=MAX_SEED, help=what)


def check_length(run: Path, seconds: float | None, *, loop: bool) -> None:
    """Refuse a length that the model of a run cannot make; None is no length.

    Raises:
        typer.BadParameter: it is too short or too long.
        FileNotFoundError: there is no finished model.
    """
    if seconds is None:
        return
    from audiogen.run_folder import training_window

    most = MAX_WINDOWS * training_window(run)
    if not loop and seconds < MIN_SECONDS:
        message = f"{seconds:g} s is too short: a take has {MIN_SECONDS:g} to {most:g} s"
        raise typer.BadParameter(f"{message}; only --loop may be shorter", param_hint="--seconds")
    if seconds > most:
        message = f"{seconds:g} s is too long: {run} makes up to {most:g} s"
        raise typer.BadParameter(f"{message}; give less", param_hint="--seconds")


def existing(path: Path | None) -> Path | None:
    """Return the path of a file that a command reads.

    Raises:
        typer.BadParameter: there is none.
    """
    if path is not None and not path.exists():
        from audiogen.trees import did_you_mean

        raise typer.BadParameter(f"{path}: no such file{did_you_mean(path)}")
    return path


def check_tempo(bpm: float | None, bars: int | None) -> None:
    """Refuse a tempo without bars, and bars without a tempo.

    Raises:
        typer.BadParameter: one of them is given alone.
    """
    if (bpm is None) != (bars is None):
        raise typer.BadParameter("give both --bpm and --bars, or neither", param_hint="--bpm")


def tempo(bpm: float | None, bars: int | None, beats_per_bar: int = 4) -> Tempo | None:
    """Return the tempo that both options give; None where neither is given.

    Raises:
        typer.BadParameter: one of them is given alone.
    """
    check_tempo(bpm, bars)
    if bpm is None or bars is None:
        return None
    from audiogen.take_request import Tempo

    return Tempo(bpm=bpm, bars=bars, beats_per_bar=beats_per_bar)
