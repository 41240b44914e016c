"""Commands that make takes, make one again, and say what is behind one."""
# ruff: noqa: PLC0415 - a command imports what it needs, so that --help never waits for torch

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from audiogen.cli.options import (
    A_MODEL,
    BASE,
    MAX_TAKES,
    Bars,
    BatchSize,
    Bpm,
    Device,
    Runs,
    Steps,
    check_length,
    check_tempo,
    existing,
    finite,
    seed_option,
    tempo,
)

takes = typer.Typer()

Prompts = Annotated[
    list[str] | None,
    typer.Option(help='What it should sound like; may be repeated; "" leaves it to the model.'),
]
PromptFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", callback=existing, help="Prompts: .txt (one a line), .csv or .yaml."
    ),
]
Seconds = Annotated[
    float | None, typer.Option(min=0, callback=finite, help="Length of a take.  [default: 5]")
]
ToEnd = Annotated[
    bool, typer.Option("--to-end", help="Let the model end a take, at --seconds at the latest.")
]
TakesOut = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where they go.  [default: takes, in RUN or here]"),
]
GuidanceScale = Annotated[
    float | None,
    typer.Option(
        min=0, callback=finite, help="Weight of the prompt; 1 is off.  [default: the recipe's]"
    ),
]
NegativePrompt = Annotated[str, typer.Option(help="What it should not sound like; needs guidance.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Another setting under `sample`, such as temperature=0.9; may be repeated.",
    ),
]
Control = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="How it should measure, of what the model was trained with: brightness (Hz), density"
        " (events per second), roughness, stationarity, tonality (0 to 1), pitch (Hz), tempo (bpm),"
        " key (such as Amin), bandwidth (Hz); may be repeated.",
    ),
]


@takes.command()
def sample(  # noqa: PLR0913 - a command's parameters are its options
    run: Annotated[Path, typer.Argument(help=f"{A_MODEL}.")] = BASE,
    *,
    prompt: Prompts = None,
    prompts: PromptFile = None,
    negative_prompt: NegativePrompt = "",
    seconds: Seconds = None,
    to_end: ToEnd = False,
    loop: Annotated[bool, typer.Option("--loop", help="Make seamless loops.")] = False,
    bpm: Bpm = None,
    bars: Bars = None,
    beats_per_bar: Annotated[int, typer.Option(min=1, max=64, help="Beats of each bar.")] = 4,
    count: Annotated[int, typer.Option(min=1, max=MAX_TAKES, help="Takes per prompt.")] = 1,
    seed: Annotated[int, seed_option("Of the first take; the next takes count up from it.")] = 0,
    out: TakesOut = None,
    steps: Steps = None,
    guidance_scale: GuidanceScale = None,
    setting: Settings = None,
    control: Control = None,
    batch_size: BatchSize = 8,
    device: Device = "auto",
) -> None:
    """Make takes from prompts.

    They are 24-bit WAV files, each beside a JSON file that says how it was made.
    """
    _require_prompt(prompt, listed=prompts is not None)
    check_tempo(bpm, bars)
    _check_kind(loop=loop, to_end=to_end, bpm=bpm, seconds=seconds)
    check_length(run, seconds, loop=loop)
    beat = tempo(bpm, bars, beats_per_bar)
    check_length(run, beat.seconds if beat else None, loop=loop)
    changes = {"steps": steps, "guidance_scale": guidance_scale, **_settings(setting)}
    from audiogen.conditioning.controls import parse_controls
    from audiogen.generators import changed_sampling
    from audiogen.pipeline import Pipeline
    from audiogen.run_folder import made_by
    from audiogen.seeds import later_seed
    from audiogen.take_request import TakeRequest
    from audiogen.takes.making import write_takes

    wanted = _prompts(prompt or [], prompts)
    controls, pipeline = parse_controls(control or ()), Pipeline.from_pretrained(run, device=device)
    requests = TakeRequest.of_each(
        wanted,
        [later_seed(seed, number) for number in range(count)],
        seconds=beat.seconds if beat else 5.0 if seconds is None else seconds,
        sampling=changed_sampling(pipeline.config.sample, changes),
        negative_prompt=negative_prompt,
        controls=controls,
        loop=loop,
        tempo=beat,
        to_end=to_end,
    )
    for path in write_takes(pipeline, requests, out or made_by(run).takes, batch_size):
        typer.echo(path)


@takes.command()
def redo(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A take; it is only read.")],
    *,
    model: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Who made it.  [default: as its folder or pack tells]"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where it goes.  [default: redo beside it]")
    ] = None,
    device: Device = "auto",
) -> None:
    """Make the samples of a take again.

    From the JSON file beside it. Says whether they are bit-equal; the exit code is 1 when not.
    """
    from audiogen.pack.redo import redo_take

    redone = redo_take(file, model, out, device)
    typer.echo(redone.path)
    typer.echo(redone.verdict)
    if redone.difference:
        raise typer.Exit(1)


@takes.command()
def whois(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A take, beside its JSON file.")],
    *,
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="RUN", help="That made it.  [default: looked for]"),
    ] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Say what made a sound.

    Prints the prompt, seed and model of a take, and the licences and authors behind it.
    """
    from audiogen.provenance.whois import whois as say_who

    typer.echo(say_who(file, model=model, runs=runs))


def _prompts(given: list[str], file: Path | None) -> tuple[str, ...]:
    """The prompts of the command line, then those of the file; there has to be one."""
    from audiogen.pack.prompts import bare_prompts

    listed = [] if file is None else bare_prompts(file)
    _require_prompt(given, listed=bool(listed))
    return (*given, *listed)


def _require_prompt(given: Sequence[str] | None, *, listed: bool) -> None:
    """Raise typer.BadParameter where nothing is asked for."""
    if not given and not listed:
        hint = 'give --prompt TEXT or --prompts FILE (--prompt "" leaves it to the model)'
        raise typer.BadParameter(hint, param_hint="--prompt")


def _settings(given: list[str] | None) -> dict[str, Any]:
    """The settings of sampling that are given one by one."""
    from audiogen.trees import parse_overrides

    return parse_overrides(given or ())


def _check_kind(*, loop: bool, to_end: bool, bpm: float | None, seconds: float | None) -> None:
    """Raise typer.BadParameter for lengths that contradict each other."""
    if to_end and loop:
        raise typer.BadParameter("a loop has no end; give --loop or --to-end", param_hint="--loop")
    if bpm is not None and not loop:
        raise typer.BadParameter("a tempo is for loops; add --loop", param_hint="--bpm")
    if bpm is not None and seconds is not None:
        message = "--bpm and --bars set the length; leave one of the two out"
        raise typer.BadParameter(message, param_hint="--seconds")
