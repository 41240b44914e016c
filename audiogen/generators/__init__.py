"""Generators: one file and one line of the union below each."""

from __future__ import annotations

from audiogen.generators.base import LatentGenerator, SamplingConfig
from audiogen.generators.diffusion import DiffusionConfig, DiffusionGenerator
from audiogen.types import LatentSpec

GeneratorConfig = DiffusionConfig

__all__ = ["GeneratorConfig", "LatentGenerator", "SamplingConfig", "build_generator"]


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
    if spec.kind != DiffusionGenerator.accepts:
        raise ValueError(
            f"config: generator.type={config.type} models {DiffusionGenerator.accepts} latents,"
            f" but the codec gives {spec.kind}"
        )
    return DiffusionGenerator(config, spec, text_dim, window_frames)
