"""What the configuration of a codec says."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from audiogen.schema import Config
from audiogen.types import LatentSpec


class CodecConfig(Config):
    """What the configuration of every codec says."""

    type: str
    sample_rate: int = Field(default=22050, ge=8000, le=192000)
    """Hz."""
    audio_channels: Literal[1, 2] = 1
    """1 is mono, 2 is stereo."""
    hop_length: int = Field(default=1024, gt=0)
    """Samples per latent frame."""

    @property
    def family(self) -> str:
        """Type of the codec that it is in the end."""
        return self.type

    @property
    def folder(self) -> Path | None:
        """Of a finished codec, which is taken as it is; None for one that is to be made."""
        return None

    @property
    def origin(self) -> str:
        """Where weights come from that others have trained; empty for our own."""
        return ""

    @property
    def licence(self) -> str:
        """Licence of weights that others have trained; empty for our own."""
        return ""

    def spec(self, channels: int, vocab_size: int | None = None) -> LatentSpec:
        """Describe latents of D channels, or tokens of K codebooks of `vocab_size` entries."""
        return LatentSpec(
            kind="continuous" if vocab_size is None else "tokens",
            channels=channels,
            vocab_size=vocab_size,
            hop_length=self.hop_length,
            sample_rate=self.sample_rate,
            audio_channels=self.audio_channels,
        )
