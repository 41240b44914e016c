"""`audiogen texture`: from a list of prompts to a pack that is curated, made anew and exported."""
# ruff: noqa: PLC0415 - a command imports what it needs, so that --help never waits for torch

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from audiogen.cli.options import (
    BASE,
    MAX_TAKES,
    Bars,
    BatchSize,
    Bpm,
    Model,
    SoundFile,
    Steps,
    check_tempo,
    existing,
    finite,
    seed_option,
    tempo,
)

if TYPE_CHECKING:
    from audiogen.pack.make import Done, Worker

texture = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="From a list of prompts to a pack for a DAW.",
)

By = Literal["hpss", "bands", "stems"]
NamingChoice = Literal["splice", "ucs", "plain"]
Format = Literal["wav24", "wav16", "flac"]
Pack = Annotated[Path, typer.Argument(metavar="PACK", help="A folder that `make` filled.")]


@texture.command()
def make(  # noqa: PLR0913 - a command's parameters are its options
    prompts: Annotated[
        Path,
        typer.Argument(
            metavar="LIST", callback=existing, help="Prompts as .txt (one a line), .csv or .yaml."
        ),
    ],
    *,
    model: Model = BASE,
    out: Annotated[Path, typer.Option("--out", metavar="PACK", help="Folder of the pack.")],
    count: Annotated[
        int | None, typer.Option(min=1, max=MAX_TAKES, help="Takes per prompt.  [default: 1]")
    ] = None,
    seconds: Annotated[
        str | None, typer.Option(metavar="S", help="Length, or a range: 5-10.  [default: 5]")
    ] = None,
    steps: Steps = None,
    best_of: Annotated[
        int | None,
        typer.Option(min=1, max=64, metavar="N", help="Candidates of each take; the best is kept."),
    ] = None,
    seed: Annotated[int, seed_option("Moves the seeds of all prompts.")] = 0,
    batch_size: BatchSize = 8,
) -> None:
    """Make the takes of a list of prompts.

    Stopped or killed, the same command goes on where it was. What the list says of a prompt goes
    before the options. `accelerate launch -m audiogen texture make ...` shares the takes out.
    """
    from audiogen.pack.make import Worker, make_pack

    given = {"count": count, "seconds": seconds, "steps": steps, "best_of": best_of}
    options = {name: value for name, value in given.items() if value is not None}
    worker = Worker.launched()
    done = make_pack(
        prompts,
        options,
        model=model,
        out=out,
        worker=worker,
        seed=seed,
        batch_size=batch_size,
    )
    _finish(out, done, worker)


@texture.command()
def page(pack: Pack) -> None:
    """Write the page on which takes are chosen.

    PACK/index.html is one file that opens from disk; `make` and `redo` write it too.
    """
    from audiogen.pack.curation.page import write_page

    typer.echo(write_page(pack))


@texture.command()
def serve(
    pack: Pack,
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
) -> None:
    """Show the page and save the choices.

    They go to PACK/selection.json. Only this machine can open the page. Ctrl-C ends it.
    """
    import contextlib
    import webbrowser

    from audiogen.pack.curation.server import serving

    with serving(pack, port) as server, contextlib.suppress(KeyboardInterrupt):
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        typer.echo(f"{address}   (Ctrl-C ends it)")
        if browser:
            webbrowser.open(address)
        server.serve_forever()


@texture.command()
def redo(  # noqa: PLR0913 - a command's parameters are its options
    pack: Pack,
    *,
    kept: Annotated[bool, typer.Option("--kept", help="The kept takes.")] = False,
    starred: Annotated[bool, typer.Option("--starred", help="The starred takes.")] = False,
    seconds: Annotated[
        float | None, typer.Option(min=0, callback=finite, help="Their new length.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Solver steps.")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Make them as loops.")] = False,
    bpm: Bpm = None,
    bars: Bars = None,
    vary: Annotated[int, typer.Option(min=0, max=MAX_TAKES, help="Variations of each.")] = 0,
    amount: Annotated[
        float,
        typer.Option(min=0, max=1, callback=finite, help="How far: above 0, to 1, a new sound."),
    ] = 0.3,
    rate: Annotated[
        int | None, typer.Option(metavar="HZ", help="The same takes at another sample rate.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="RUN", help="Who made them.  [default: as PACK tells]"),
    ] = None,
    batch_size: BatchSize = 8,
) -> None:
    """Make chosen takes anew: longer, with more steps, as loops, varied, or at another rate.

    The new takes go to the same pack and name the take they come from; nothing is replaced.
    """
    if kept == starred:
        raise typer.BadParameter("give --kept or --starred", param_hint="--kept")
    check_tempo(bpm, bars)
    from audiogen.pack.make import Worker
    from audiogen.pack.redo import RedoRequest, redo_pack

    request = RedoRequest(
        which="star" if starred else "keep",
        seconds=seconds,
        steps=steps,
        loop=loop,
        tempo=tempo(bpm, bars),
        vary=vary,
        amount=amount,
        rate=rate,
        batch_size=batch_size,
        model=model,
    )
    worker = Worker.launched()
    _finish(pack, redo_pack(pack, request, worker), worker)


@texture.command()
def split(
    file: SoundFile,
    *,
    by: Annotated[
        By,
        typer.Option(
            help="Harmonic, percussive and residual; low, mid and high; or drums, bass and so on"
            " by Demucs, where installed."
        ),
    ] = "hpss",
    stems_model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="For stems: htdemucs, htdemucs_ft, htdemucs_6s, or a folder.  [default: htdemucs]",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where they go.  [default: beside FILE]")
    ] = None,
) -> None:
    """Split a sound into layers that add up to it.

    They are 32-bit float WAV files. The layers of a loop are loops.
    """
    from audiogen.takes.layers import split as split_file

    for path in split_file(file, by=by, stems_model=stems_model, out=out):
        typer.echo(path)


@texture.command()
def export(
    pack: Annotated[Path, typer.Argument(metavar="PACK", help="A folder of takes; only read.")],
    *,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder to make.")],
    naming: Annotated[NamingChoice, typer.Option(help="Rules of the names.")] = "splice",
    audio_format: Annotated[Format, typer.Option("--format", help="Kind of files.")] = "wav24",
    rate: Annotated[int, typer.Option(metavar="HZ", help="Sample rate.")] = 48_000,
    creator: Annotated[str, typer.Option(help="CreatorID in UCS names.")] = "AG",
    model: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Encloses the ATTRIBUTION.csv of this run's model."),
    ] = None,
    sign: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="CERT KEY", help="Signs how each file was made (C2PA), PEM files."),
    ] = None,
) -> None:
    """Export the kept takes of a pack for a DAW.

    Makes Loops/, OneShots/ and Textures/, a manifest, licences, a contact sheet, and a REAPER
    project of the loops. Without a selection.json in PACK all takes are kept.
    """
    from audiogen.pack.export.exporting import ExportRequest, export_pack

    request = ExportRequest(
        to=to,
        naming=naming,
        audio_format=audio_format,
        rate=rate,
        creator=creator,
        model=model,
        sign=sign,
    )
    typer.echo(export_pack(pack, request))


def _finish(pack: Path, done: Done, worker: Worker) -> None:
    """Write the page and say what was made."""
    if worker.rank:
        return
    from audiogen.pack.curation.page import update_page

    made = len(done.takes) - done.there_before
    typer.echo(f"{len(done.takes)} takes: {done.there_before} were there, {made} made")
    typer.echo(update_page(pack))
