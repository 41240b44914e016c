"""The musician's guide: its commands are those there are, its list is one, and its words plain."""

import re
import shlex
from pathlib import Path

import click
import pytest
import typer

from audiogen.cli.main import app
from audiogen.pack.prompts import TakeSettings, read_prompts

GUIDE = (Path(__file__).resolve().parents[1] / "docs" / "musician.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```console\n(.*?)```", GUIDE, flags=re.DOTALL)
COMMANDS = [
    line.split("#")[0].strip()
    for line in [line for block in BLOCKS for line in block.splitlines()]
    if line.startswith("audiogen ")
]


def test_it_is_written_for_artists() -> None:
    for word in ("tensor", "latent", "checkpoint", "hyperparameter", "epoch", "inference"):
        assert word not in GUIDE.lower()
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_are_understood(line: str) -> None:
    command: click.Command = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    context = click.Context(command, info_name="audiogen")
    while isinstance(command, click.Group):
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
    command.make_context(words[0] if words else "", list(words), parent=context)


def test_its_list_of_prompts_is_one(tmp_path: Path) -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", GUIDE, flags=re.DOTALL)
    path = tmp_path / "prompts.yaml"
    path.write_text(text, encoding="utf-8")
    entries = [entry for _, entry in read_prompts(path, TakeSettings())]
    assert len(entries) == 1 + 6 + 3 + 1 + 1
    assert "a forest at night" in {one.prompt for one in entries}


def test_it_names_every_setting_of_a_list() -> None:
    assert [name for name in TakeSettings.model_fields if f"`{name}`" not in GUIDE] == []
