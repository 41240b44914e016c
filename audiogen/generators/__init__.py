"""Generators: one file and one line of the union and of the table below each."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from audiogen.generators.base import LatentGenerator, SamplingConfig, Start
from audiogen.generators.diffusion import DiffusionConfig, DiffusionGenerator
from audiogen.generators.flow import FlowConfig, FlowGenerator
from audiogen.types import LatentSpec

GeneratorConfig = Annotated[DiffusionConfig | FlowConfig, Field(discriminator="type")]
_CLASSES: dict[type, Any] = {DiffusionConfig: DiffusionGenerator, FlowConfig: FlowGenerator}

__all__ = ["GeneratorConfig", "LatentGenerator", "SamplingConfig", "Start", "build_generator"]


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
    kind = _CLASSES[type(config)]
    if spec.kind != kind.accepts:
        raise ValueError(
            f"config: generator.type={config.type} models {kind.accepts} latents,"
            f" but the codec gives {spec.kind}"
        )
    generator: LatentGenerator = kind(config, spec, text_dim, window_frames)
    return generator
