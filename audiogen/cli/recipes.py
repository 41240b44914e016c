"""Commands on a recipe and on the runs that it makes, from its settings to its report."""
# ruff: noqa: PLC0415 - a command imports what it needs, so that --help never waits for torch

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiogen.cli.options import BASE, Device, Model

if TYPE_CHECKING:
    from audiogen.experiment import ExperimentConfig

recipes = typer.Typer()

Recipe = Annotated[Path, typer.Argument(help="A recipe, such as recipes/diffusion.yaml.")]
RecipeOrRun = Annotated[Path, typer.Argument(help="A recipe, or the run folder it made.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings over the recipe's, such as data.path=FOLDER, run_dir=DIR, seed=1.",
    ),
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


@recipes.command()
def config(recipe: Recipe, overrides: Overrides = None) -> None:
    """Print a recipe with every default."""
    resolved = _load(recipe, overrides or (), must_find=False)
    from audiogen.schema import dump_config

    typer.echo(dump_config(resolved), nl=False)


@recipes.command()
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
    resolved = _load(recipe, _with_terms(overrides, licence_policy, i_own_these))
    from audiogen.training.preparation import prepare as prepare_sounds

    typer.echo(prepare_sounds(resolved))


@recipes.command()
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
    given = _with_terms(overrides, licence_policy, i_own_these)
    given += ["train.allow_change=true"] if allow_change else []
    resolved = _load(recipe, given)
    from audiogen.training.stages import train as train_stages

    typer.echo(f"model: {train_stages(resolved)}")


@recipes.command()
def tune(
    sounds: Annotated[Path, typer.Argument(metavar="FOLDER", help="Your sounds; some 20 will do.")],
    overrides: Overrides = None,
    *,
    model: Model = BASE,
    word: Annotated[
        str,
        typer.Option(help="What sounds without a caption are called.  [default: FOLDER's name]"),
    ] = "",
    licence_policy: Policy = None,
    i_own_these: Own = False,
) -> None:
    """Teach a trained model your sounds.

    Takes of its own are learnt beside the sounds, against forgetting. The weights are those whose
    loss on held-out sounds was lowest. The same command again goes on where it stopped.
    """
    given = _with_terms(overrides, licence_policy, i_own_these)
    from audiogen.tune import tune_config

    resolved = tune_config(sounds, model, given, label=word)
    from audiogen.adapter import write_adapter
    from audiogen.training.preparation import prepare as prepare_sounds
    from audiogen.training.stages import train as train_stages

    typer.echo(prepare_sounds(resolved))
    tuned = train_stages(resolved)
    write_adapter(resolved.run.adapter, tuned, model)
    run = shlex.quote(str(resolved.run_dir))
    typer.echo(f"model: {tuned}\nadapter: {resolved.run.adapter}")
    typer.echo(f"takes: audiogen sample {run} --prompt {shlex.quote(resolved.data.label or '...')}")
    typer.echo(f"whether they copy your sounds: audiogen evaluate {run}")


@recipes.command()
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
    resolved = _load(recipe, overrides or ())
    from audiogen.training.plan import Machine, describe_plan

    machine = Machine(gpus=gpus, memory_gb=gpu_memory, tflops=gpu_tflops, utilisation=utilisation)
    typer.echo(describe_plan(resolved, machine))


@recipes.command()
def evaluate(recipe: RecipeOrRun, overrides: Overrides = None, *, device: Device = "auto") -> None:
    """Measure a run and write its report page.

    Makes takes and compares them, and the codec, with held-out recordings.
    """
    given = overrides or []
    if recipe.is_dir():  # a run that was moved since is evaluated where it is now
        given = [f"run_dir={recipe}", *given]
    resolved = _load(recipe, given)
    from audiogen.evaluation.evaluate import evaluate as evaluate_run

    typer.echo(f"report: {evaluate_run(resolved, device)}")


@recipes.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Evaluated run folders.")],
) -> None:
    """Show runs side by side.

    One line per run: what `audiogen evaluate` measured.
    """
    from audiogen.evaluation.scoreboard import scoreboard

    typer.echo(scoreboard(runs))


def _load(recipe: Path, overrides: Sequence[str], *, must_find: bool = True) -> ExperimentConfig:
    """Read a recipe; what is wrong with its file or its overrides is said without a wait."""
    from audiogen.run_folder import RunFolder
    from audiogen.trees import parse_overrides, read_derived

    read_derived(RunFolder(recipe).config if recipe.is_dir() else recipe)
    parse_overrides(overrides)
    from audiogen.experiment import load_config

    return load_config(recipe, overrides, must_find=must_find)


def _with_terms(overrides: list[str] | None, policy: str | None, own: bool) -> list[str]:
    """Add what the options say of licences to the settings, which are what counts."""
    options = [f"data.licence_policy={policy}"] if policy is not None else []
    return [*(overrides or ()), *options, *(["data.i_own_these=true"] if own else [])]
