"""What several commands ask for in the same words."""
# ruff: noqa: PLC0415 - a command imports what it needs, so that --help never waits for torch

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from audiogen.take_request import Tempo

Model = Annotated[
    Path, typer.Option("--model", metavar="RUN", help="A run folder, such as runs/diffusion.")
]
SoundFile = Annotated[Path, typer.Argument(metavar="FILE", help="A sound; it is only read.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Solver steps.  [default: the recipe's]")]
BatchSize = Annotated[
    int, typer.Option(min=1, help="Takes made at once; it does not change their sound.")
]
Bpm = Annotated[
    float | None, typer.Option(min=1, max=999, help="Tempo of a loop whose length is in bars.")
]
Bars = Annotated[int | None, typer.Option(min=1, help="Bars of such a loop.")]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="The folder of your runs.")]


def tempo(bpm: float | None, bars: int | None, beats_per_bar: int = 4) -> Tempo | None:
    """Return the tempo that both options give; None where neither is given.

    Raises:
        typer.BadParameter: one of them is given alone.
    """
    if (bpm is None) != (bars is None):
        raise typer.BadParameter("give both --bpm and --bars, or neither", param_hint="--bpm")
    from audiogen.take_request import Tempo

    return Tempo(bpm=bpm, bars=bars, beats_per_bar=beats_per_bar) if bpm and bars else None
