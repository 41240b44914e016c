"""Codecs: a file and a line of the table below each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch

from audiogen.codecs.base import Codec, CodecOutput
from audiogen.codecs.config import CodecConfig
from audiogen.codecs.mel import MelCodec, MelConfig
from audiogen.codecs.pretrained.dac import DAC, DACConfig
from audiogen.codecs.pretrained.encodec import EnCodec, EnCodecConfig
from audiogen.codecs.pretrained.mimi import Mimi, MimiConfig
from audiogen.codecs.pretrained.oobleck import Oobleck, OobleckConfig
from audiogen.codecs.rvq import RVQCodec, RVQConfig
from audiogen.codecs.saved import FILES, SHAPE, SavedConfig, codec_digest
from audiogen.codecs.vae import VAECodec, VAEConfig
from audiogen.schema import Config, OneOf, dump_config, parse_config
from audiogen.seal import require_whole, seal_folder
from audiogen.storage import narrowed, read_tensors, write_tensors
from audiogen.trees import read_yaml
from audiogen.types import Kind


def _open_saved(config: SavedConfig) -> Codec:
    """Read a finished codec, which is not trained any more."""
    codec = load_codec(config.folder)
    codec.trainable = False
    return codec


CODECS: dict[type[CodecConfig], Any] = {
    VAEConfig: VAECodec,
    RVQConfig: RVQCodec,
    MelConfig: MelCodec,
    EnCodecConfig: EnCodec,
    DACConfig: DAC,
    MimiConfig: Mimi,
    OobleckConfig: Oobleck,
    SavedConfig: _open_saved,
}
"""The class of each configuration. A codec is a file and a line here: recipes, the command line and
the contract tests know it then."""
AnyCodec = Annotated[CodecConfig, OneOf(lambda: CODECS)]

__all__ = [
    "CODECS",
    "FILES",
    "AnyCodec",
    "Codec",
    "CodecConfig",
    "CodecOutput",
    "build_codec",
    "find_saved",
    "kind_of",
    "learns",
    "load_codec",
    "read_codec_config",
    "save_codec",
]


class _Own(Config):
    """A codec's own config.yaml, with a key around it: a choice can only be a field."""

    codec: Annotated[CodecConfig, OneOf(lambda: CODECS.keys() - {SavedConfig})]


def kind_of(config: CodecConfig) -> Kind | None:
    """Whether a codec gives continuous latents or tokens; None for a saved one not found yet."""
    kind: Kind | None = getattr(CODECS[type(config)], "kind", None)
    return config.kind if isinstance(config, SavedConfig) else kind


def find_saved(config: CodecConfig) -> CodecConfig:
    """Return the configuration of a saved codec with what its folder says; others as they are.

    Raises:
        FileNotFoundError: there is no codec.
        ValueError: the codec is not as it was written.
    """
    if not isinstance(config, SavedConfig) or config.digest:
        return config
    own = read_codec_config(config.folder)
    found = {
        "digest": codec_digest(config.folder),
        "saved_type": own.type,
        "kind": kind_of(own),
        **{name: getattr(own, name) for name in SHAPE},
    }
    return config.model_copy(update=found)


def build_codec(config: CodecConfig) -> Codec:
    """Make the codec that `config` describes, with fresh weights unless it is a saved one."""
    codec: Codec = CODECS[type(config)](config)
    return codec


def learns(config: CodecConfig) -> bool:
    """Whether a codec of this configuration is trained, and not taken as others have made it.

    >>> learns(VAEConfig()), learns(SavedConfig(path=Path("base")))
    (True, False)
    """
    return bool(getattr(CODECS[type(config)], "trainable", False))


def save_codec(folder: Path, codec: Codec, *, dtype: torch.dtype | None = None) -> None:
    """Write `config.yaml` and `weights.safetensors` into an existing folder.

    Its matrices are written in `dtype`; None takes that which they have.
    """
    (folder / "config.yaml").write_text(dump_config(codec.config), encoding="utf-8")
    write_tensors(folder / "weights.safetensors", narrowed(codec.state_dict(), dtype))
    seal_folder(folder, FILES)


def load_codec(folder: Path) -> Codec:
    """Read what `save_codec` wrote, in evaluation mode.

    Raises:
        FileNotFoundError: the folder holds no codec.
        ValueError: its files are not those that were written.
        ConfigError: its config is not valid.
        RuntimeError: weights and config do not fit.
    """
    if not (folder / "config.yaml").is_file():
        raise FileNotFoundError(f"{folder}: no codec here, config.yaml is missing")
    require_whole(folder, FILES)
    codec = build_codec(read_codec_config(folder))
    codec.load_state_dict(read_tensors(folder / "weights.safetensors"))
    return codec.eval().requires_grad_(requires_grad=False)


def read_codec_config(folder: Path) -> CodecConfig:
    """Return what a codec's folder says of itself."""
    file = folder / "config.yaml"
    return parse_config(_Own, {"codec": read_yaml(file)}, source=str(file)).codec
