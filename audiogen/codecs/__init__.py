"""Codecs: a file and a line of the table below each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from audiogen.codecs.base import Codec, CodecConfig, CodecOutput
from audiogen.codecs.mel import MelCodec, MelConfig
from audiogen.codecs.pretrained.base import PretrainedCodec
from audiogen.codecs.pretrained.dac import DAC, DACConfig
from audiogen.codecs.pretrained.encodec import EnCodec, EnCodecConfig
from audiogen.codecs.pretrained.mimi import Mimi, MimiConfig
from audiogen.codecs.pretrained.oobleck import Oobleck, OobleckConfig
from audiogen.codecs.rvq import RVQCodec, RVQConfig
from audiogen.codecs.vae import VAECodec, VAEConfig
from audiogen.schema import Config, OneOf, dump_config, parse_config
from audiogen.seal import require_whole, seal_folder
from audiogen.storage import read_tensors, write_tensors
from audiogen.trees import read_yaml
from audiogen.types import Kind

CODECS: dict[type[CodecConfig], Any] = {
    VAEConfig: VAECodec,
    RVQConfig: RVQCodec,
    MelConfig: MelCodec,
    EnCodecConfig: EnCodec,
    DACConfig: DAC,
    MimiConfig: Mimi,
    OobleckConfig: Oobleck,
}
"""The class of each configuration. A codec is a file and a line here: recipes, the command line and
the contract tests know it then."""
AnyCodec = Annotated[CodecConfig, OneOf(lambda: CODECS)]

FILES = ("config.yaml", "weights.safetensors")
"""Of a codec, which its seal covers; what lies beside them may change."""

__all__ = [
    "CODECS",
    "AnyCodec",
    "Codec",
    "CodecConfig",
    "CodecOutput",
    "build_codec",
    "kind_of",
    "load_codec",
    "save_codec",
]


class _Saved(Config):
    """A codec's own config.yaml, with a key around it: a choice can only be a field."""

    codec: AnyCodec


def kind_of(config: CodecConfig) -> Kind:
    """Whether the codec that `config` describes gives continuous latents or tokens."""
    kind: Kind = CODECS[type(config)].kind
    return kind


def build_codec(config: CodecConfig) -> Codec:
    """Make the codec that `config` describes, with fresh weights."""
    codec: Codec = CODECS[type(config)](config)
    return codec


def save_codec(folder: Path, codec: Codec, config: CodecConfig) -> None:
    """Write `config.yaml` and `weights.safetensors` into an existing folder."""
    # A pretrained codec's own also holds what its network is made of, to be opened offline.
    own: Config = codec.config if isinstance(codec, PretrainedCodec) else config
    (folder / "config.yaml").write_text(dump_config(own), encoding="utf-8")
    write_tensors(folder / "weights.safetensors", codec.state_dict())
    seal_folder(folder, FILES)


def load_codec(folder: Path) -> Codec:
    """Read what `save_codec` wrote, in evaluation mode.

    Raises:
        FileNotFoundError: the folder holds no codec.
        ValueError: its files are not those that were written.
        ConfigError: its config is not valid.
        RuntimeError: weights and config do not fit.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        raise FileNotFoundError(f"{folder}: no codec here, {file.name} is missing")
    require_whole(folder, FILES)
    tree = {"codec": read_yaml(file)}
    codec = build_codec(parse_config(_Saved, tree, source=str(file)).codec)
    codec.load_state_dict(read_tensors(folder / "weights.safetensors"))
    return codec.eval().requires_grad_(requires_grad=False)
