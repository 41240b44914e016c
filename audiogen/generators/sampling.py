"""How takes are sampled: one configuration per family of generators."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from audiogen.nn.lowbit import WeightKind
from audiogen.schema import Config

SolverName = Literal["euler", "midpoint", "heun", "rk4", "dpmpp_2m", "pingpong"]


class SamplingConfig(Config):
    """What every family has."""

    type: str
    guidance_scale: float = Field(default=3.0, ge=0, le=30)
    """s in worse + s (conditional - worse), where the worse prediction is without the prompt; 1 is
    off."""
    recognised: float = Field(default=0.0, ge=0, le=1)
    """How probably the recogniser that is published with a model has to hear what a prompt names;
    a take of which it does not is made again with another seed. 0 takes each as it comes, and so
    does a prompt that names no sound, or two, that the recogniser knows."""


class ODESamplingConfig(SamplingConfig):
    """How takes are sampled by the generators that solve an ODE."""

    type: Literal["ode"] = "ode"
    steps: int = Field(default=16, ge=1, le=1000)
    """Steps of the solver; midpoint and heun evaluate the network twice in each, rk4 four times."""
    solver: SolverName = "dpmpp_2m"
    """pingpong is stochastic, for few-step models; the others solve the ODE."""
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    """Part of the noise levels, from 0 (data) to 1 (noise), in which guidance acts."""
    guidance_skips: float = Field(default=0.0, ge=0, le=1)
    """Share of the network's blocks, of those in its middle, that the prediction without the prompt
    has to do without as well."""
    guidance_rescale: float = Field(default=0.0, ge=0, le=1)
    """How far the standard deviation of the unguided prediction is restored; 0 is off."""
    guidance_parallel: float = Field(default=1.0, ge=0, le=1)
    """Weight of guidance along the prediction itself; 0 leaves what is orthogonal (APG)."""
    guidance_norm: float | None = Field(default=None, gt=0)
    """Longest guidance direction, as a root mean square over the latents; None is no limit."""
    guidance_momentum: float = Field(default=0.0, gt=-1, lt=1)
    """Weight of the last evaluation's guidance direction; APG takes about -0.5; 0 is off."""

    @model_validator(mode="after")
    def _interval_is_ordered(self) -> ODESamplingConfig:
        low, high = self.guidance_interval
        if not 0 <= low <= high <= 1:
            raise ValueError(f"guidance_interval must be 0 <= low <= high <= 1, got {low}, {high}")
        return self

    @property
    def network_evaluations(self) -> int:
        """Evaluations of the network; a guided one, of a doubled batch, counts once."""
        match self.solver:
            case "heun":
                return 2 * self.steps - 1
            case "midpoint":
                return 2 * self.steps
            case "rk4":
                return 4 * self.steps - 2
        return self.steps


class TokenSamplingConfig(SamplingConfig):
    """How takes are sampled by the generators of tokens."""

    type: Literal["tokens"] = "tokens"
    temperature: float | tuple[float, ...] = 1.0
    """Divides the logits, of all codebooks or of each; 0 takes the most likely token."""
    top_k: int = Field(default=0, ge=0)
    """Only the k most likely tokens are drawn from; 0 is all."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Only the most likely tokens whose probabilities reach p are drawn from; 1 is all."""
    passes: tuple[int, ...] = (16, 8, 4, 4)
    """Passes of masked decoding for each codebook; the last number holds for those behind it."""
    weights: WeightKind = "fp32"
    """In what the Transformer's weights are kept while sampling; smaller ones are read faster."""

    @model_validator(mode="after")
    def _numbers_are_in_range(self) -> TokenSamplingConfig:
        given = self.temperature if isinstance(self.temperature, tuple) else (self.temperature,)
        if not given or min(given) < 0:
            raise ValueError(f"temperature must be 0 or more, got {self.temperature}")
        if not self.passes or min(self.passes) < 1:
            raise ValueError(f"passes must be at least 1 for each codebook, got {self.passes}")
        return self
