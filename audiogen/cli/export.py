"""`audiogen texture split` and `export`: layers of a sound, and a pack for a DAW."""
# ruff: noqa: PLC0415 - a command imports what it needs, so that --help never waits for torch

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

By = Literal["hpss", "bands", "stems"]
NamingChoice = Literal["splice", "ucs", "plain"]
Format = Literal["wav24", "wav16", "flac"]


def split(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A sound; it is only read.")],
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
