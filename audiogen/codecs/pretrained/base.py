"""Codecs that others have trained: EnCodec, DAC and Mimi (tokens), Oobleck (continuous latents).

The networks are those of transformers and diffusers. Here they keep to the promises of `Codec`:
whole frames in, `L * hop_length` samples out, chunks that equal the whole, and a saved folder that
needs nothing else. They are not trained further. Their weights have licences of their own, which
also hold for a saved model: read them at the source.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import Any, ClassVar, Self, TypeVar

import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from audiogen.codecs.base import Codec, CodecOutput
from audiogen.codecs.config import CodecConfig
from audiogen.codecs.pretrained.library import Library, is_folder
from audiogen.types import Kind

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(/[\w.-]+)*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
ConfigT = TypeVar("ConfigT", bound="PretrainedConfig")


class PretrainedConfig(CodecConfig):
    """What the four have in common: a source, and what is known of it before it is opened.

    The sample rate, the channels and the hop length are those of the source.
    """

    weights_licence: ClassVar[str] = "not stated"
    """Of the weights of the default source, SPDX."""

    source: str
    """Hub repository `owner/name`, with the folder in it behind that; or a local folder, which
    begins with /, ./, ../ or ~ and is as `save_pretrained` writes it."""
    revision: str | None = None
    """Commit of the repository, 40 hexadecimal digits; for a local folder only a note."""
    network: dict[str, Any] | None = None
    """The library's own settings, filled in when a codec is saved: the network is then made of
    them, and `source` is not opened any more."""

    @property
    def origin(self) -> str:
        """The source."""
        return self.source

    @property
    def licence(self) -> str:
        """Licence of the weights of `source`, as far as it is known."""
        return self.weights_licence if self._is_default(self.source) else "not stated"

    @model_validator(mode="before")
    @classmethod
    def _the_default_revision_is_of_the_default_source(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and "source" in tree and not cls._is_default(tree["source"]):
            return {"revision": None, **tree}
        return tree

    @model_validator(mode="after")
    def _source_stays_as_it_is(self) -> Self:
        if is_folder(self.source):
            return self
        if not _REPOSITORY.fullmatch(self.source):
            raise ValueError(
                f"source={self.source}: expected a hub repository owner/name, or a local folder,"
                " which begins with / or ./"
            )
        if self.revision is None or not _COMMIT.fullmatch(self.revision):
            page = "/".join(self.source.split("/")[:2])
            raise ValueError(
                f"revision={self.revision}: expected a commit of {page}, 40 hexadecimal digits, for"
                " a branch may change under a model; they are listed at"
                f" https://huggingface.co/{page}/commits/main (a local folder begins with / or ./)"
            )
        return self

    @classmethod
    def _is_default(cls, source: object) -> bool:
        return bool(source == cls.model_fields["source"].default)


class TokenSourceConfig(PretrainedConfig):
    """A source of tokens."""

    num_codebooks: int = Field(ge=1)
    """How many of the source's codebooks are used, the first ones; the others are left out."""


class PretrainedCodec(Codec):
    """A published network, frozen; subclasses say where the parts of theirs are.

    Attributes:
        config: with the network's settings, so that it describes the codec by itself.
        network: the library's own, always in evaluation mode.
    """

    trainable = False
    library: ClassVar[Library]
    config: PretrainedConfig
    network: Any

    @classmethod
    def _opened(cls, config: ConfigT) -> tuple[Any, ConfigT]:
        """Return the network that `config` asks for, and `config` with its settings."""
        if config.network is not None:
            network = cls.library.make(config.network)
        else:
            network, settings = cls.library.open(config.source, config.revision)
            config = config.model_copy(update={"network": settings})
        wrong = [
            f"  codec.{name}={getattr(config, name)}, but there it is {value}"
            for name, value in cls._facts(network).items()
            if getattr(config, name) != value
        ]
        if wrong:
            lines = [f"codec.source={config.source} is not what the settings state:", *wrong]
            raise ValueError("\n".join(lines))
        return network, config

    @staticmethod
    @abstractmethod
    def _facts(network: Any) -> dict[str, int]:
        """Sample rate, audio channels and hop length; ValueError if it cannot be a codec here."""

    def _adopt(self, network: nn.Module, config: PretrainedConfig) -> None:
        """Take the network over, frozen."""
        self.config = config
        self.network = network
        self.requires_grad_(requires_grad=False)
        self.train(mode=False)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: in training, some networks drop codebooks at random."""
        del mode
        return super().train(mode=False)

    def forward(self, wav: Tensor) -> CodecOutput:
        """Refuse, for there is nothing to train."""
        del wav
        raise ValueError(
            f"codec.type={self.config.type} is trained already; it only encodes and decodes"
        )

    def decode_chunk(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Decode latents or tokens to wav (B, C, L * hop_length).

        A transposed convolution of odd stride that is padded on both sides alike gives one sample
        less than whole frames, and later layers multiply it: silence stands for what is missing.
        """
        wav = self._sound(latents)
        return F.pad(wav, (0, noise.shape[-1] - wav.shape[-1]))

    @abstractmethod
    def _sound(self, latents: Tensor) -> Tensor:
        """What the network makes of latents or tokens, (B, C, T)."""


class PretrainedTokens(PretrainedCodec):
    """A pretrained codec of kind tokens."""

    kind: ClassVar[Kind] = "tokens"

    def __init__(self, config: TokenSourceConfig) -> None:
        network, config = self._opened(config)
        super().__init__()
        wanted = config.num_codebooks
        there = self._keep_codebooks(network, wanted)
        if wanted > there:
            raise ValueError(
                f"codec.num_codebooks={wanted}, but codec.source={config.source} has {there}"
            )
        self._adopt(network, config)
        self.spec = config.spec(wanted, network.config.codebook_size)

    @staticmethod
    @abstractmethod
    def _keep_codebooks(network: Any, count: int) -> int:
        """Leave out all but the first `count` codebooks; return how many there were."""
