"""The `audiogen` command: every command parses, calls one function, and prints what came of it."""
# ruff: noqa: PLC0415 - a command imports what it needs, so that --help never waits for torch

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import audiogen
from audiogen.cli.codec import codec
from audiogen.cli.data import data, whois
from audiogen.cli.edit import edit
from audiogen.cli.texture import texture

if TYPE_CHECKING:
    from audiogen.take_request import Tempo

DEBUG_VARIABLE = "AUDIOGEN_DEBUG"
ERROR_LINES = 4  # of an error that lists no config mistakes
MIN_SECONDS = 0.5  # of a take; a loop may be shorter
EXIT_FAILED = 1
EXIT_USAGE = 2

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="A folder of sounds in, a text-prompted generator of raw audio out.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong recipe, setting or usage, 75 training was"
    " stopped by a signal and goes on with the same command.",
)

Recipe = Annotated[Path, typer.Argument(help="A recipe, such as recipes/diffusion.yaml.")]
RecipeOrRun = Annotated[Path, typer.Argument(help="A recipe, or the run folder it made.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings over the recipe's, such as data.path=FOLDER, run_dir=DIR, seed=1.",
    ),
]
Steps = Annotated[int | None, typer.Option(min=1, help="Solver steps.  [default: the recipe's]")]
TakesOut = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where they go.  [default: RUN/takes]")
]
GuidanceScale = Annotated[
    float | None, typer.Option(help="Weight of the prompt; 1 is off.  [default: the recipe's]")
]
NegativePrompt = Annotated[str, typer.Option(help="What it should not sound like; needs guidance.")]
Bpm = Annotated[
    float | None, typer.Option(min=1, max=999, help="Tempo of a loop whose length is in bars.")
]
Policy = Annotated[
    str | None,
    typer.Option(
        "--licence-policy",
        "--license-policy",
        metavar="cc0|commercial|research",
        help="Which licences are allowed: data.licence_policy.  [default: the recipe's]",
    ),
]
Own = Annotated[
    bool,
    typer.Option(
        "--i-own-these", help="The sounds without a licence are mine: data.i_own_these=true."
    ),
]
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
        " (events per second), roughness, stationarity, tonality (0 to 1), tempo (bpm), key"
        " (such as Amin); may be repeated.",
    ),
]
BatchSize = Annotated[
    int, typer.Option(min=1, help="Takes made at once; it does not change their sound.")
]

app.add_typer(data, name="data")
app.add_typer(edit, name="edit")
app.add_typer(codec, name="codec")
app.add_typer(texture, name="texture")


def main() -> None:
    """Run the command line; a known kind of error ends in a few lines, not in a traceback."""
    try:
        app(prog_name="audiogen")
    except (ValueError, OSError) as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        sys.exit(_report(error))


def _report(error: ValueError | OSError) -> int:
    """Print the error to stderr and return the exit code that tells its kind."""
    from audiogen.schema import ConfigError

    lines = str(error).splitlines() or [type(error).__name__]
    wrong_settings = isinstance(error, ConfigError)
    if not wrong_settings:  # a config error has one line per mistake, and all of them count
        lines = lines[:ERROR_LINES]
    typer.secho("\n".join(["error: " + lines[0], *lines[1:]]), fg="red", err=True)
    return EXIT_USAGE if wrong_settings else EXIT_FAILED


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"audiogen {audiogen.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help=f"Show tracebacks; so does {DEBUG_VARIABLE}=1.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    logging.basicConfig(format="%(message)s")
    logging.getLogger("audiogen").setLevel(logging.INFO)
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"


@app.command()
def config(recipe: Recipe, overrides: Overrides = None) -> None:
    """Print a recipe with every default."""
    from audiogen.experiment import load_config
    from audiogen.schema import dump_config

    typer.echo(dump_config(load_config(recipe, overrides or ())), nl=False)


@app.command()
def prepare(
    recipe: Recipe,
    overrides: Overrides = None,
    *,
    licence_policy: Policy = None,
    i_own_these: Own = False,
) -> None:
    """Read the sounds, and say what is refused.

    Finds captions, splits the recordings, writes the manifest, and sums up what is used and why
    the rest is not.
    """
    from audiogen.experiment import load_config
    from audiogen.training.stages import prepare as prepare_sounds

    given = _with_terms(overrides, licence_policy, i_own_these)
    typer.echo(prepare_sounds(load_config(recipe, given)))


@app.command()
def train(
    recipe: Recipe,
    overrides: Overrides = None,
    *,
    licence_policy: Policy = None,
    i_own_these: Own = False,
    allow_change: Annotated[
        bool,
        typer.Option("--allow-change", help="Go on although settings or data have changed."),
    ] = False,
) -> None:
    """Train codec and generator.

    The same command again goes on where it stopped, and does nothing once all is done.
    """
    from audiogen.experiment import load_config
    from audiogen.training.stages import train as train_stages

    given = _with_terms(overrides, licence_policy, i_own_these)
    given += ["train.allow_change=true"] if allow_change else []
    typer.echo(f"model: {train_stages(load_config(recipe, given))}")


def _with_terms(overrides: list[str] | None, policy: str | None, own: bool) -> list[str]:
    """Add what the options say of licences to the settings, which are what counts."""
    options = [f"data.licence_policy={policy}"] if policy is not None else []
    return [*(overrides or ()), *options, *(["data.i_own_these=true"] if own else [])]


@app.command()
def plan(
    recipe: Recipe,
    overrides: Overrides = None,
    *,
    gpus: Annotated[int, typer.Option(min=1, help="Over all nodes.")] = 1,
    gpu_memory: Annotated[float, typer.Option(min=0, metavar="GB", help="Of each.")] = 80.0,
    gpu_tflops: Annotated[
        float, typer.Option(min=0.001, help="Of each at best, in the precision of the run.")
    ] = 989.0,
    utilisation: Annotated[
        float, typer.Option(min=0.001, max=1, help="Share of that which training reaches.")
    ] = 0.3,
) -> None:
    """Say what a recipe will need, before it runs.

    Parameters, memory per GPU, and steps per day at best. No sound is read, nothing is written.
    """
    from audiogen.experiment import load_config
    from audiogen.training.plan import Machine, describe_plan

    machine = Machine(gpus=gpus, memory_gb=gpu_memory, tflops=gpu_tflops, utilisation=utilisation)
    typer.echo(describe_plan(load_config(recipe, overrides or ()), machine))


@app.command()
def evaluate(recipe: RecipeOrRun, overrides: Overrides = None) -> None:
    """Measure a run and write its report page.

    Makes takes and compares them, and the codec, with held-out recordings.
    """
    from audiogen.evaluation.evaluate import evaluate as evaluate_run
    from audiogen.experiment import load_config

    given = overrides or []
    if recipe.is_dir():  # a run that was moved since is evaluated where it is now
        given = [f"run_dir={recipe}", *given]
    typer.echo(f"report: {evaluate_run(load_config(recipe, given))}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Evaluated run folders.")],
) -> None:
    """Show runs side by side.

    One line per run: what `audiogen evaluate` measured.
    """
    from audiogen.evaluation.scoreboard import scoreboard

    typer.echo(scoreboard(runs))


@app.command()
def sample(  # noqa: PLR0913 - a command's parameters are its options
    run: Annotated[Path, typer.Argument(help="A run folder, such as runs/diffusion.")],
    *,
    prompt: Annotated[
        list[str] | None,
        typer.Option(help='What it should sound like; may be repeated; "" leaves it to the model.'),
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A text file with one prompt per line.")
    ] = None,
    negative_prompt: NegativePrompt = "",
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Length of a take.  [default: 5]")
    ] = None,
    to_end: Annotated[
        bool, typer.Option("--to-end", help="Let the model end a take, at --seconds at the latest.")
    ] = False,
    loop: Annotated[bool, typer.Option("--loop", help="Make seamless loops.")] = False,
    bpm: Bpm = None,
    bars: Annotated[int | None, typer.Option(min=1, help="Bars of such a loop.")] = None,
    beats_per_bar: Annotated[int, typer.Option(min=1, help="Beats of each bar.")] = 4,
    count: Annotated[int, typer.Option(min=1, help="Takes per prompt.")] = 1,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the first take; the next takes count up from it.")
    ] = 0,
    out: TakesOut = None,
    steps: Steps = None,
    guidance_scale: GuidanceScale = None,
    setting: Settings = None,
    control: Control = None,
    batch_size: BatchSize = 8,
) -> None:
    """Make takes from prompts.

    They are 24-bit WAV files, each beside a JSON file that says how it was made.
    """
    wanted = _prompts(prompt or [], prompts)
    if to_end and loop:
        raise typer.BadParameter("a loop has no end; give --loop or --to-end", param_hint="--loop")
    tempo, length = _length(loop, bpm, bars, beats_per_bar, seconds)
    from audiogen.conditioning.controls import parse_controls
    from audiogen.pipeline import Pipeline
    from audiogen.schema import parse_overrides
    from audiogen.take_request import TakeRequest
    from audiogen.takes.making import changed_sampling, write_takes

    changes = {"steps": steps, "guidance_scale": guidance_scale, **parse_overrides(setting or ())}
    controls = parse_controls(control or ())
    pipeline = Pipeline.from_pretrained(run)
    requests = TakeRequest.of_each(
        wanted,
        range(seed, seed + count),
        seconds=length,
        sampling=changed_sampling(pipeline.config.sample, changes),
        negative_prompt=negative_prompt,
        controls=controls,
        loop=loop,
        tempo=tempo,
        to_end=to_end,
    )
    for path in write_takes(pipeline, requests, out or _takes_folder(run), batch_size=batch_size):
        typer.echo(path)


def _takes_folder(run: Path) -> Path:
    """Where the takes of a run go unless it is said."""
    from audiogen.run_folder import RunFolder

    return RunFolder(run).takes


def _prompts(given: list[str], file: Path | None) -> tuple[str, ...]:
    """Return the prompts of the command line, then those of the file.

    Raises:
        typer.BadParameter: there is none, or the file is not text.
    """
    listed: list[str] = []
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise typer.BadParameter(f"{file} is not UTF-8 text", param_hint="--prompts") from None
        except OSError as error:
            message = f"{file}: {error.strerror}"
            raise typer.BadParameter(message, param_hint="--prompts") from None
        listed = [line.strip() for line in lines if line.strip()]
    if not given and not listed:
        hint = 'give --prompt TEXT or --prompts FILE (--prompt "" leaves it to the model)'
        raise typer.BadParameter(hint, param_hint="--prompt")
    return (*given, *listed)


def _length(
    loop: bool, bpm: float | None, bars: int | None, beats_per_bar: int, seconds: float | None
) -> tuple[Tempo | None, float]:
    """Return the tempo of loops, if they have one, and the seconds of all takes.

    Raises:
        typer.BadParameter: the options contradict each other, or say too little.
    """
    if (bpm is None) != (bars is None):
        raise typer.BadParameter("give both --bpm and --bars, or neither", param_hint="--bpm")
    if bpm is not None and not loop:
        raise typer.BadParameter("a tempo is for loops; add --loop", param_hint="--bpm")
    if bpm is not None and seconds is not None:
        message = "--bpm and --bars set the length; leave one of the two out"
        raise typer.BadParameter(message, param_hint="--seconds")
    if not loop and seconds is not None and seconds < MIN_SECONDS:
        message = f"Input should be greater than or equal to {MIN_SECONDS}"
        raise typer.BadParameter(message, param_hint="--seconds")
    if bpm is None or bars is None:
        return None, 5.0 if seconds is None else seconds
    from audiogen.take_request import Tempo

    tempo = Tempo(bpm=bpm, bars=bars, beats_per_bar=beats_per_bar)
    return tempo, tempo.seconds


@app.command()
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
) -> None:
    """Make the samples of a take again.

    From the JSON file beside it. Says whether they are bit-equal; the exit code is 1 when not.
    """
    from audiogen.pack.redo import describe, redo_take

    redone = redo_take(file, model, out)
    typer.echo(redone.path)
    typer.echo(describe(redone))
    if redone.difference:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def doctor() -> None:
    """Check the installation and this machine.

    Says how to mend what is wrong; the exit code is 1 when something fails.
    """
    from audiogen.cli.checks import describe, run_checks

    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    checks = run_checks()
    for check in checks:
        typer.secho(describe(check), fg=colours[check.verdict])
    if any(check.verdict == "fail" for check in checks):
        raise typer.Exit(EXIT_FAILED)


app.command()(whois)  # stands in `cli_data`, and last in the list of commands
