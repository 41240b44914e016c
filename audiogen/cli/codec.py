"""`audiogen codec`: sounds to token files and back."""
# ruff: noqa: PLC0415 - a command imports what it needs, so that --help never waits for torch

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audiogen.cli.options import Device, seed_option

codec = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Turn sounds into token files, and back.",
)

CodecModel = Annotated[
    Path, typer.Option("--model", metavar="RUN", help="A run folder, or that of its codec.")
]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where it goes.  [default: beside FILE]")
]
Codebooks = Annotated[
    int | None, typer.Option(min=1, help="Keep only the first of them.  [default: all]")
]


@codec.command()
def encode(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Sounds; only read.")],
    *,
    model: CodecModel,
    out: Out = None,
    codebooks: Codebooks = None,
    device: Device = "auto",
) -> None:
    """Encode sounds of any length as token files.

    Prints length, bit rate and speed of each. An existing file is kept, and a number put behind.
    """
    from audiogen.codecs.token_files.transcode import encode_sounds

    for done in encode_sounds(model, files, out=out, num_codebooks=codebooks, device=device):
        typer.echo(done)


@codec.command()
def decode(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE.tokens", help="Token files; only read.")
    ],
    *,
    model: CodecModel,
    out: Out = None,
    seed: Annotated[int, seed_option("Of the random fine detail.")] = 0,
    codebooks: Codebooks = None,
    device: Device = "auto",
) -> None:
    """Decode token files to 24-bit WAV, by the codec that encoded them.

    Prints length, bit rate and speed of each. An existing file is kept, and a number put behind.
    """
    from audiogen.codecs.token_files.transcode import decode_sounds

    for done in decode_sounds(
        model, files, out=out, num_codebooks=codebooks, seed=seed, device=device
    ):
        typer.echo(done)
