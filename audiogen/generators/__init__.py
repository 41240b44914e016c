"""Generators: one file and one line of the union and of the table below each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from audiogen.generators.base import LatentGenerator, Start
from audiogen.generators.ode.diffusion import DiffusionConfig, DiffusionGenerator
from audiogen.generators.ode.flow import FlowConfig, FlowGenerator
from audiogen.generators.sampling import (
    AnySampling,
    ODESamplingConfig,
    SamplingConfig,
    TokenSamplingConfig,
    parse_sampling,
)
from audiogen.generators.tokens.autoregressive import AutoregressiveConfig, AutoregressiveGenerator
from audiogen.generators.tokens.masked import MaskedConfig, MaskedGenerator
from audiogen.schema import Config
from audiogen.types import Kind, LatentSpec

GeneratorConfig = Annotated[
    DiffusionConfig | FlowConfig | AutoregressiveConfig | MaskedConfig, Field(discriminator="type")
]
_CLASSES: dict[type[Config], Any] = {
    DiffusionConfig: DiffusionGenerator,
    FlowConfig: FlowGenerator,
    AutoregressiveConfig: AutoregressiveGenerator,
    MaskedConfig: MaskedGenerator,
}

__all__ = [
    "GENERATORS",
    "AnySampling",
    "GeneratorConfig",
    "LatentGenerator",
    "ODESamplingConfig",
    "SamplingConfig",
    "Start",
    "TokenSamplingConfig",
    "build_generator",
    "check_kind",
    "parse_sampling",
]


GENERATORS: Mapping[str, type[LatentGenerator]] = {
    config.model_fields["type"].default: generator for config, generator in _CLASSES.items()
}
"""The class of each `type`, which says what its generators can do."""


def check_kind(config: GeneratorConfig, kind: Kind) -> None:
    """Raise ValueError when the generator does not model the codec's kind of latents."""
    accepts = _CLASSES[type(config)].accepts
    if kind != accepts:
        raise ValueError(
            f"generator.type={config.type} models {accepts} latents, but the codec gives {kind}"
        )


def build_generator(
    config: GeneratorConfig, spec: LatentSpec, text_dim: int, window_frames: int
) -> LatentGenerator:
    """Make the generator that `config` describes, with fresh weights.

    Args:
        config: of the generator.
        spec: of the codec's latents.
        text_dim: width of the text encoder's states.
        window_frames: latent frames of the training window; longer takes are made of windows.

    Raises:
        ValueError: the codec's latents are not what this generator models.
    """
    check_kind(config, spec.kind)
    generator: LatentGenerator = _CLASSES[type(config)](config, spec, text_dim, window_frames)
    return generator
