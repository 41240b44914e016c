"""Where training begins: with random weights, or with those of a trained model or codec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator

from audiogen.codecs import Codec, CodecConfig, load_codec, read_codec_config
from audiogen.codecs.saved import find_known_codec
from audiogen.codecs.trunk_config import TrunkCodecConfig
from audiogen.generators import GeneratorConfig, LatentGenerator
from audiogen.run_folder import WEIGHTS, find_model, model_digest, require_same
from audiogen.schema import Config, UserPath
from audiogen.storage import read_tensors
from audiogen.trees import merged_trees

SCRATCH = "scratch"
"""The word for random weights."""


class StartConfig(Config):
    """A model whose weights training begins with; it is only read.

    The run needs the codec of that model (`codec.type=saved`): its generator knows no other
    latents. Settings of the generator that the recipe leaves open are those of the model.
    """

    path: UserPath
    """A run folder, a model folder, or the name of a model of the library."""
    digest: str = ""
    """Names the model's weights; another model at `path` is refused. Empty until it is found."""

    @property
    def folder(self) -> Path:
        """Where the model lies.

        Raises:
            FileNotFoundError: there is none at `path`.
            ValueError: it is another one than `digest` names, or not sealed.
        """
        folder = find_model(self.path)
        if self.digest:
            require_same(folder, "model", self.digest, model_digest(folder))
        return folder


class CodecStartConfig(StartConfig):
    """A codec with whose trunk the training of another one begins; it is only read.

    Its path may also be the codec's own folder, and its digest names the codec's files.
    """

    @property
    def folder(self) -> Path:
        """Where the codec lies.

        Raises:
            FileNotFoundError: there is none at `path`.
            ValueError: it is another one than `digest` names, or not sealed.
        """
        return find_known_codec(self.path, self.digest)


def _as_block(value: Any) -> Any:
    """Let a path stand for the block, and a word for none."""
    if value == SCRATCH:
        return None
    return {"path": value} if isinstance(value, str | Path) else value


AnyStart = Annotated[StartConfig | None, BeforeValidator(_as_block)]
AnyCodecStart = Annotated[CodecStartConfig | None, BeforeValidator(_as_block)]


def like_start(own: GeneratorConfig, trained: GeneratorConfig) -> dict[str, Any]:
    """Return the settings of a generator with those of a trained one where it says nothing.

    Both may be of two types with the same network, as diffusion and flow are.
    """
    known = set(type(own).model_fields)
    left_open = {
        name: value for name, value in trained.model_dump(mode="json").items() if name in known
    }
    said = own.model_dump(mode="json", exclude_unset=True)
    return {**merged_trees(left_open, said), "type": own.type}


def begin_from(generator: LatentGenerator, folder: Path) -> None:
    """Give a generator the weights of the model in `folder`.

    Raises:
        ValueError: its network is another one.
    """
    weights, own = read_tensors(folder / WEIGHTS), generator.state_dict()
    others = sorted(
        name
        for name in weights.keys() | own.keys()
        if name not in weights or name not in own or weights[name].shape != own[name].shape
    )
    if others:
        raise ValueError(
            f"start: {folder}: a network of other parts or sizes ({len(others)} of"
            f" {len(own)} tensors, such as {others[0]})\n"
            "  leave generator.dim, depth, num_heads and controls as that model has them,"
            " or take start=scratch"
        )
    generator.load_state_dict(weights)


def require_same_trunk(own: CodecConfig, folder: Path) -> None:
    """Raise ValueError unless the codec in `folder` has the trunk that `own` describes."""
    known = read_codec_config(folder)
    if not isinstance(own, TrunkCodecConfig) or not isinstance(known, TrunkCodecConfig):
        raise ValueError(
            f"{folder}: of types {own.type} and {known.type}, which have no trunk in common\n"
            "  take train.codec.start=scratch"
        )
    here, there = _shape(own), _shape(known)
    for name, value in here.items():
        if value != there.get(name):
            raise ValueError(
                f"{folder}: codec.{name} is {there.get(name, 'absent')} there, and {value} here\n"
                "  take train.codec.start=scratch, or leave it as it is there"
            )


def _shape(config: TrunkCodecConfig) -> dict[str, Any]:
    """What decides which weights a trunk has and what they mean, by the keys of the settings."""
    sound = {name: getattr(config, name) for name in ("sample_rate", "audio_channels")}
    trunk = config.trunk.model_dump(mode="json")
    inner = {
        f"trunk.{name}": trunk[name] for name in sorted(trunk, key=lambda name: name != "type")
    }
    return {**sound, "hop_length": config.hop_length, **inner}


def begin_codec_from(codec: Codec, folder: Path) -> None:
    """Give the trunk of a codec the weights of that of the codec in `folder`.

    The two may have other latents: the layers that lead into them and out of them, whose sizes
    these decide, begin anew.

    Raises:
        ValueError: their trunks are not the same, or one of them has none.
    """
    require_same_trunk(codec.config, folder)
    weights = load_codec(folder).get_submodule("trunk").state_dict()
    with torch.no_grad():
        for name, tensor in codec.get_submodule("trunk").state_dict().items():
            if weights[name].shape == tensor.shape:
                tensor.copy_(weights[name])
