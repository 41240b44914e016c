"""`audiogen edit`: variations, new insides, continuations, other pitches and in-betweens."""
# ruff: noqa: PLC0415 - a command imports what it needs, so that --help never waits for torch

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiogen.cli.options import (
    BASE,
    MAX_TAKES,
    Device,
    Model,
    SoundFile,
    Steps,
    finite,
    seed_option,
)
from audiogen.limits import MAX_SEMITONES

if TYPE_CHECKING:
    from audiogen.takes.sources import EditRequest

edit = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Vary, fill, extend, transpose or morph a sound.",
)

EditOut = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where it goes.  [default: RUN/edits]")
]
EditSeed = Annotated[int, seed_option("Of what is new.")]
EditPrompt = Annotated[
    str | None, typer.Option(help="What it should sound like.  [default: as the file's JSON says]")
]


def _regions(texts: list[str]) -> list[str]:
    """Refuse regions that are none, whatever the sound."""
    from audiogen.takes.regions import read_region

    for text in texts:
        try:
            read_region(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    return texts


@edit.command()
def vary(  # noqa: PLR0913 - a command's parameters are its options
    file: SoundFile,
    *,
    model: Model = BASE,
    amount: Annotated[
        float,
        typer.Option(min=0, max=1, callback=finite, help="From 0, the same, to 1, a new sound."),
    ] = 0.3,
    count: Annotated[int, typer.Option(min=1, max=MAX_TAKES, help="Variations.")] = 1,
    seed: EditSeed = 0,
    prompt: EditPrompt = None,
    steps: Steps = None,
    out: EditOut = None,
    device: Device = "auto",
) -> None:
    """Make variations of a sound.

    A take of the model is varied from its seed, any other sound from what is heard.
    """
    request = _request(model, out, device, seed=seed, prompt=prompt, steps=steps)
    from audiogen.takes.editing import vary as vary_file

    for path in vary_file(model, file, request, amount=amount, count=count):
        typer.echo(path)


@edit.command()
def inpaint(
    file: SoundFile,
    *,
    model: Model = BASE,
    region: Annotated[
        list[str],
        typer.Option(
            metavar="START:STOP",
            callback=_regions,
            help="Seconds, such as 1.2:2.0; may be repeated.",
        ),
    ],
    seed: EditSeed = 0,
    prompt: EditPrompt = None,
    steps: Steps = None,
    out: EditOut = None,
    device: Device = "auto",
) -> None:
    """Fill regions of a sound with new sound.

    Outside of the regions its samples stay as they are.
    """
    request = _request(model, out, device, seed=seed, prompt=prompt, steps=steps)
    from audiogen.takes.editing import inpaint as inpaint_file

    typer.echo(inpaint_file(model, file, request, regions=region))


@edit.command()
def extend(  # noqa: PLR0913 - a command's parameters are its options
    file: SoundFile,
    *,
    model: Model = BASE,
    seconds: Annotated[float, typer.Option(min=0, callback=finite, help="Length of the result.")],
    before: Annotated[
        bool, typer.Option("--before", help="Put what is new before the sound, not behind it.")
    ] = False,
    seed: EditSeed = 0,
    prompt: EditPrompt = None,
    steps: Steps = None,
    out: EditOut = None,
    device: Device = "auto",
) -> None:
    """Continue a sound, or lead into it.

    Its own samples stay as they are.
    """
    request = _request(model, out, device, seed=seed, prompt=prompt, steps=steps)
    from audiogen.takes.editing import extend as extend_file

    typer.echo(extend_file(model, file, request, seconds=seconds, before=before))


@edit.command()
def transpose(
    file: SoundFile,
    *,
    model: Model = BASE,
    semitones: Annotated[
        float,
        typer.Option(
            min=-MAX_SEMITONES, max=MAX_SEMITONES, callback=finite, help="Up, or down below 0."
        ),
    ],
    seed: EditSeed = 0,
    out: EditOut = None,
    device: Device = "auto",
) -> None:
    """Move the pitch of a sound.

    Its time and its colour stay: a voice keeps its vowels, and noise stays as it is.
    """
    request = _request(model, out, device, seed=seed, prompt=None)
    from audiogen.takes.editing import transpose as transpose_file

    typer.echo(transpose_file(model, file, request, semitones=semitones))


@edit.command()
def morph(
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="The sound at one end.")],
    second: Annotated[
        Path, typer.Argument(metavar="SECOND", help="The sound at the other; both are only read.")
    ],
    *,
    model: Model = BASE,
    steps: Annotated[
        int, typer.Option(min=2, max=MAX_TAKES, help="Sounds, both ends included.")
    ] = 8,
    seed: EditSeed = 0,
    prompt: EditPrompt = None,
    out: EditOut = None,
    device: Device = "auto",
) -> None:
    """Make the sounds between two sounds.

    Between takes of the model, their seeds and prompts are mixed; between others, what is heard.
    """
    request = _request(model, out, device, seed=seed, prompt=prompt)
    from audiogen.takes.morph import morph as morph_files

    for path in morph_files(model, first, second, request, count=steps):
        typer.echo(path)


def _request(
    model: Path,
    out: Path | None,
    device: str,
    *,
    seed: int,
    prompt: str | None,
    steps: int | None = None,
) -> EditRequest:
    """What every edit is told; its sounds go to the run's folder of edits unless it is said."""
    from audiogen.run_folder import find_model, made_by

    find_model(model)  # before what takes seconds to import
    from audiogen.takes.sources import EditRequest

    folder = out or made_by(model).edits
    return EditRequest(out=folder, seed=seed, prompt=prompt, steps=steps, device=device)
