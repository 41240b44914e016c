"""`audiogen data`: look at sounds before anything is trained on them."""
# ruff: noqa: PLC0415 - a command imports what it needs, so that --help never waits for torch

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

data = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look at a folder of sounds.",
)


@data.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Sounds; only read.")],
    *,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with pictures, too.")
    ] = None,
) -> None:
    """Say what is wrong with which file.

    Decodes every sound as `audiogen prepare` does and lists what would be used, what refused and
    why, faults of what is used, and copies. The exit code is 1 when nothing can be used.
    """
    from audiogen.data.intake import scan_folder, summarise

    rows = scan_folder(folder, allow_none=True)
    typer.echo(summarise(rows))
    if html is not None:
        from audiogen.evaluation.intake_page import write_intake_page

        write_intake_page(html, folder, rows)
        typer.echo(f"\npage: {html}")
    if all(row.verdict == "refused" for row in rows):
        raise typer.Exit(1)
