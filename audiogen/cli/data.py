"""`audiogen data`: sounds before anything is trained on them, and the models behind them."""
# ruff: noqa: PLC0415 - a command imports what it needs, so that --help never waits for torch

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audiogen.cli.options import Runs

data = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look at sounds: before they are trained on, and behind models.",
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
    from audiogen.data.intake.scan import scan_folder, summarise

    rows = scan_folder(folder, allow_none=True)
    typer.echo(summarise(rows))
    if html is not None:
        from audiogen.evaluation.report.intake_page import write_intake_page

        write_intake_page(html, folder, rows)
        typer.echo(f"\npage: {html}")
    if all(row.verdict == "refused" for row in rows):
        raise typer.Exit(1)


@data.command()
def pack(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Sounds; only read.")],
    target: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the archives.")],
    *,
    megabytes: Annotated[
        int, typer.Option(min=1, metavar="N", help="Size at which an archive is closed.")
    ] = 1000,
) -> None:
    """Pack sounds into tar archives, for sets of very many files.

    Each sound goes with what is known of it. The folder of archives can be trained on as it is,
    or be put into an object store; see docs/data.md.
    """
    from audiogen.data.intake.scan import INTAKE_REASONS
    from audiogen.data.intake.shards import pack_folder

    packed = pack_folder(folder, target, archive_bytes=megabytes * 1_000_000)
    for row in packed.refused:
        typer.echo(f"left out: {row.path}: {INTAKE_REASONS[row.reason]}")
    archives = len(list(target.iterdir()))
    typer.echo(f"{len(packed.sounds)} sounds in {archives} archives: {target}")


@data.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="esc50|esc10|fsd50k", help="The set.")],
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="New or empty, or where it was begun.")
    ],
    *,
    mirror: Annotated[
        str, typer.Option(metavar="URL", help="Address of a server that holds the same archives.")
    ] = "",
    keep_archives: Annotated[
        bool, typer.Option("--keep-archives", help="Keep them after unpacking, in FOLDER/.fetch.")
    ] = False,
) -> None:
    """Download a published set of sounds.

    Checks and unpacks it, and writes metadata.csv with the licence and author of each sound. The
    same command again goes on where it stopped, and does nothing once all is there.
    """
    from audiogen.data.fetching.fetch import fetch_set, summarise
    from audiogen.data.fetching.published_sets import SETS

    if name not in SETS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(SETS)}", param_hint="NAME")
    clips = fetch_set(SETS[name], folder, mirror=mirror, keep_archives=keep_archives)
    typer.echo(summarise(SETS[name], folder, clips))


@data.command()
def forget(
    identifier: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="Path of a sound, first digits of its sha256, or its source id."
        ),
    ],
    *,
    runs: Runs = Path("runs"),
) -> None:
    """List the models that were trained on a sound.

    Deletes nothing and says what to do. The exit code is 1 when something could not be searched.
    """
    from audiogen.provenance.forget import describe_uses, find_uses

    uses = find_uses(identifier, runs)
    typer.echo(describe_uses(identifier, uses))
    if uses.unreadable:
        raise typer.Exit(1)
