"""Codecs: one file and one line of the union below each."""

from __future__ import annotations

from pathlib import Path

import yaml

from audiogen.codecs.base import Codec, CodecOutput
from audiogen.codecs.vae import VAECodec, VAEConfig
from audiogen.schema import dump_config, parse_config
from audiogen.storage import read_tensors, write_tensors

CodecConfig = VAEConfig

__all__ = ["Codec", "CodecConfig", "CodecOutput", "build_codec", "load_codec", "save_codec"]


def build_codec(config: CodecConfig) -> Codec:
    """Make the codec that `config` describes, with fresh weights."""
    return VAECodec(config)


def save_codec(folder: Path, codec: Codec, config: CodecConfig) -> None:
    """Write `config.yaml` and `weights.safetensors` into an existing folder."""
    (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    write_tensors(folder / "weights.safetensors", codec.state_dict())


def load_codec(folder: Path) -> Codec:
    """Read what `save_codec` wrote, in evaluation mode.

    Raises:
        FileNotFoundError: the folder holds no codec.
        ConfigError: its config is not valid.
        RuntimeError: weights and config do not fit.
    """
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    tree = yaml.safe_load(text)
    config = parse_config(CodecConfig, tree, source=str(folder / "config.yaml"))
    codec = build_codec(config)
    codec.load_state_dict(read_tensors(folder / "weights.safetensors"))
    return codec.eval().requires_grad_(requires_grad=False)
