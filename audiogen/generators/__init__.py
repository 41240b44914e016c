"""Generators: a file and a line of the table below each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from audiogen.generators.base import LatentGenerator
from audiogen.generators.config import GeneratorConfig
from audiogen.generators.ode.diffusion import DiffusionConfig, DiffusionGenerator
from audiogen.generators.ode.flow import FlowConfig, FlowGenerator
from audiogen.generators.request import Start
from audiogen.generators.sampling import (
    ODESamplingConfig,
    SamplingConfig,
    TokenSamplingConfig,
)
from audiogen.generators.tokens.autoregressive import AutoregressiveConfig, AutoregressiveGenerator
from audiogen.generators.tokens.masked import MaskedConfig, MaskedGenerator
from audiogen.schema import Config, OneOf, parse_config
from audiogen.types import Kind, LatentSpec

GENERATORS: dict[type[GeneratorConfig], type[LatentGenerator]] = {
    DiffusionConfig: DiffusionGenerator,
    FlowConfig: FlowGenerator,
    AutoregressiveConfig: AutoregressiveGenerator,
    MaskedConfig: MaskedGenerator,
}
"""The class of each configuration. A generator is a file and a line here: recipes, the command line
and the contract tests know it then."""
AnyGenerator = Annotated[GeneratorConfig, OneOf(lambda: GENERATORS)]
AnySampling = Annotated[
    SamplingConfig, OneOf(lambda: {model.sampling: None for model in GENERATORS.values()})
]

__all__ = [
    "GENERATORS",
    "AnyGenerator",
    "AnySampling",
    "GeneratorConfig",
    "LatentGenerator",
    "ODESamplingConfig",
    "SamplingConfig",
    "Start",
    "TokenSamplingConfig",
    "build_generator",
    "changed_sampling",
    "check_kind",
]


class _Given(Config):
    """Sampling settings, with a key around them: a choice can only be a field."""

    sample: AnySampling


def changed_sampling(sampling: SamplingConfig, changes: Mapping[str, Any]) -> SamplingConfig:
    """Return `sampling` with the changes that are not None; ConfigError names a wrong one."""
    given = {name: value for name, value in changes.items() if value is not None}
    tree = {"sample": {**sampling.model_dump(), **given}}
    return parse_config(_Given, tree, source="sample").sample


def check_kind(config: GeneratorConfig, kind: Kind) -> None:
    """Raise ValueError when the generator does not model the codec's kind of latents."""
    accepts = GENERATORS[type(config)].accepts
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
    return GENERATORS[type(config)](config, spec, text_dim, window_frames)
