"""What a model folder says about itself: its config.yaml."""

from __future__ import annotations

from pydantic import Field

from audiogen.codecs import CodecConfig
from audiogen.conditioning.text import TextConfig
from audiogen.data.intake.licences import LicenceTerms
from audiogen.generators import AnySampling, GeneratorConfig
from audiogen.schema import Config


class ModelConfig(Config):
    """What a model folder says about itself; its codec has a folder and config of its own."""

    format: int = 1
    name: str
    codec: CodecConfig
    text: TextConfig
    generator: GeneratorConfig
    sample: AnySampling
    clip_seconds: float = Field(gt=0)
    """The generator's training window."""
    licences: dict[str, int] = Field(default_factory=dict)
    """Training files by licence."""
    terms: LicenceTerms | None = None
    """Under which its sounds were used; None when nobody said."""
    codec_licence: str = ""
    """Of the weights of a pretrained codec; empty when the codec was trained here."""
