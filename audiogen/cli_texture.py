"""`audiogen texture`: packs of textures, from takes to a DAW."""

from __future__ import annotations

import typer

from audiogen import cli_texture_export

texture = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Split a sound into layers; export a pack for a DAW.",
)
texture.command()(cli_texture_export.split)
texture.command()(cli_texture_export.export)
