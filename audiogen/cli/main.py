"""The `audiogen` command: its options, its groups of commands, and its errors."""
# ruff: noqa: PLC0415 - a command imports what it needs, so that --help never waits for torch

from __future__ import annotations

import errno
import logging
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import audiogen
from audiogen.cli.codec import codec
from audiogen.cli.data import data
from audiogen.cli.doctor import installation
from audiogen.cli.edit import edit
from audiogen.cli.models import models
from audiogen.cli.recipes import recipes
from audiogen.cli.takes import takes
from audiogen.cli.texture import texture

SPIN_VARIABLE, SPIN_COUNT = "GOMP_SPINCOUNT", "10000"
"""How often a thread of OpenMP's looks whether the others are ready before it sleeps. Torch's own
looks thirty times as often, which beside other programs takes twice as long; see
`tools/bench/busy.py`."""
DEBUG_VARIABLE = "AUDIOGEN_DEBUG"
ERROR_LINES = 4  # of an error that lists no config mistakes
EXIT_FAILED = 1
EXIT_USAGE = 2

MAY_BE_EMPTY = {"--prompt", "--negative-prompt"}
DENIED = "choose a folder where you may write, or change the rights of this one"
FULL = "free some space, or choose another folder; what is finished stays"
MENDS = {  # of what the system refuses, by its number
    errno.EACCES: DENIED,
    errno.EPERM: DENIED,
    errno.EROFS: DENIED,
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.ENOENT: "give the path of one that is there",
    errno.EEXIST: "give the path of a folder: a file has this name",
    errno.ENOTDIR: "give the path of a folder: a part of this one is a file",
    errno.EISDIR: "give the path of a file: this is a folder",
    errno.ENAMETOOLONG: "give a shorter name",
}


class _Commands(TyperGroup):
    """The commands; what is wrong with their words is said with a hint where one is known."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if "unexpected extra argument" in (said := str(getattr(error, "message", ""))):
                hint = f'{said.rstrip(".")}; a text with spaces needs quotes, as in "light rain"'
                raise typer.BadParameter(hint, ctx=getattr(error, "ctx", None)) from None
            raise


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="A folder of sounds in, a text-prompted generator of raw audio out.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong recipe, setting or usage, 75 training was"
    " stopped by a signal and goes on with the same command.",
)

for commands in (recipes, takes, models, installation):
    app.add_typer(commands)
for group, name in ((data, "data"), (edit, "edit"), (codec, "codec"), (texture, "texture")):
    app.add_typer(group, name=name)


def main() -> None:
    """Run the command line; a known kind of error ends in a few lines, not in a traceback."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault(SPIN_VARIABLE, SPIN_COUNT)  # which is read when torch is imported
    try:
        _require_words(sys.argv[1:])
        app(prog_name="audiogen")
    except (ValueError, OSError) as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        sys.exit(_report(error))


def _require_words(words: list[str]) -> None:
    """Refuse an empty word where it is no prompt: a path of it would be the current folder."""
    for number, word in enumerate(words):
        before = words[number - 1] if number else ""
        option, is_set, value = word.partition("=") if word.startswith("--") else ("", "=", word)
        place = option or (before if before.startswith("--") else f"argument {number + 1}")
        if is_set and not value and place not in MAY_BE_EMPTY:
            from audiogen.schema import ConfigError

            raise ConfigError(
                f"{place}: it is empty, as of a variable that is not set\n"
                "  say what it is to be; the current folder is ."
            )


def _report(error: ValueError | OSError) -> int:
    """Print the error to stderr and return the exit code that tells its kind."""
    from audiogen.schema import ConfigError

    lines = _words(error).splitlines() or [type(error).__name__]
    wrong_settings = isinstance(error, ConfigError)
    if not wrong_settings:  # a config error has one line per mistake, and all of them count
        lines = lines[:ERROR_LINES]
    typer.secho("\n".join(["error: " + lines[0], *lines[1:]]), fg="red", err=True)
    return EXIT_USAGE if wrong_settings else EXIT_FAILED


def _words(error: ValueError | OSError) -> str:
    """What is wrong, where, and how to mend it; what the system refuses comes without the last."""
    if not isinstance(error, OSError) or not str(error).startswith("[Errno"):
        return str(error)  # in words of our own
    place = error.filename2 or error.filename
    where = "" if place is None else f"{os.fsdecode(place)}: "
    mend = MENDS.get(error.errno or 0)
    return f"{where}{error.strerror}" + (f"\n  {mend}" if mend else "")


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
