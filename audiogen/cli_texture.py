"""`audiogen texture`: from a list of prompts to a pack that is curated and made anew."""
# ruff: noqa: PLC0415 - a command imports what it needs, so that --help never waits for torch

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from audiogen.texture.pack import Done, Worker

texture = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make a pack of takes from a list of prompts, choose, and make the chosen anew.",
)

Pack = Annotated[Path, typer.Argument(metavar="PACK", help="A folder that `make` filled.")]
BatchSize = Annotated[
    int, typer.Option(min=1, help="Takes made at once; it does not change their sound.")
]
Steps = Annotated[int | None, typer.Option(min=1, help="Solver steps.  [default: the recipe's]")]


@texture.command()
def make(
    prompts: Annotated[
        Path,
        typer.Argument(metavar="LIST", help="Prompts as .txt (one a line), .csv or .yaml."),
    ],
    *,
    model: Annotated[
        Path, typer.Option("--model", metavar="RUN", help="A run folder, such as runs/diffusion.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="PACK", help="Folder of the pack.")],
    count: Annotated[
        int | None, typer.Option(min=1, help="Takes per prompt.  [default: 1]")
    ] = None,
    seconds: Annotated[
        str | None, typer.Option(metavar="S", help="Length, or a range: 5-10.  [default: 5]")
    ] = None,
    steps: Steps = None,
    seed: Annotated[int, typer.Option(min=0, help="Moves the seeds of all prompts.")] = 0,
    batch_size: BatchSize = 8,
) -> None:
    """Make the takes of a list of prompts.

    Stopped or killed, the same command goes on where it was. What the list says of a prompt goes
    before the options. `accelerate launch -m audiogen texture make ...` shares the takes out.
    """
    from audiogen.schema import parse_config
    from audiogen.texture.pack import MakeRequest, Worker, make_pack
    from audiogen.texture.prompts import TakeSettings

    given = {"count": count, "seconds": seconds, "steps": steps}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    defaults = parse_config(TakeSettings, options, source="options")
    request = MakeRequest(
        prompts=prompts, model=model, out=out, defaults=defaults, seed=seed, batch_size=batch_size
    )
    worker = _quiet_but_first(Worker.launched())
    _finish(out, make_pack(request, worker), worker)


def _quiet_but_first(worker: Worker) -> Worker:
    """Let only the first of several processes say what happens."""
    if worker.rank:
        logging.getLogger("audiogen").setLevel(logging.ERROR)
    return worker


def _finish(pack: Path, done: Done, worker: Worker) -> None:
    """Say what was made."""
    if worker.rank == 0:
        made = len(done.takes) - done.there_before
        typer.echo(f"{len(done.takes)} takes: {done.there_before} were there, {made} made")
