"""Settings of the optimiser and the learning rate as a pure function of the step."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from audiogen.schema import Config

Schedule = Literal["constant", "cosine", "linear", "wsd"]
COOLDOWN = 0.2  # share of the steps in which "wsd" decays; 10 to 20 % in Haegele et al. 2024

Beta = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class OptimConfig(Config):
    """The optimizer and its learning-rate schedule."""

    algorithm: Literal["adamw", "muon"] = "adamw"
    """muon moves the matrices of the network's blocks by Muon, and all else by AdamW."""
    lr: float = Field(default=3e-4, gt=0, le=1, allow_inf_nan=False)
    """Peak learning rate, reached after the warm-up."""
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    """Decay of AdamW's running mean of gradients and of their squares; each in [0, 1)."""
    weight_decay: float = Field(default=0.01, ge=0, le=1, allow_inf_nan=False)
    """Decoupled weight decay of matrices and kernels; vectors and embeddings have none."""
    warmup_steps: int = Field(default=200, ge=0)
    """Steps over which the learning rate rises linearly from near 0 to `lr`."""
    schedule: Schedule = "cosine"
    """Course after the warm-up: constant, cosine, linear, or wsd (flat, then a late cooldown)."""
    final_ratio: float = Field(default=0.05, ge=0, le=1, allow_inf_nan=False)
    """Learning rate at the last step as a share of `lr`; unused by the constant schedule."""
    max_grad_norm: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Gradients are scaled down to this norm over all parameters when they exceed it."""

    @model_validator(mode="after")
    def _second_beta_is_slower(self) -> Self:
        if self.betas[1] < self.betas[0]:
            raise ValueError(f"betas: the second must not be below the first (got {self.betas})")
        return self

    def lr_at(self, step: int, *, total_steps: int) -> float:
        """Return this configuration's learning rate of update number `step` (0-based)."""
        return lr_at(
            step,
            lr=self.lr,
            warmup_steps=self.warmup_steps,
            total_steps=total_steps,
            schedule=self.schedule,
            final_ratio=self.final_ratio,
        )


def lr_at(
    step: int,
    *,
    lr: float,
    warmup_steps: int,
    total_steps: int,
    schedule: Schedule,
    final_ratio: float,
) -> float:
    """Return the learning rate of update number `step`.

    Update 0 already moves: the warm-up gives `lr * (step + 1) / warmup_steps`, so that its last
    update has `lr`. The decay ends in `lr * final_ratio` at update `total_steps - 1` and stays
    there. A warm-up longer than the run is never left.

    Args:
        step: number of updates done so far, from 0.
        lr: peak rate.
        warmup_steps: updates of linear rise; 0 for none.
        total_steps: updates of the whole run, at least 1.
        schedule: "constant"; "cosine" (Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5);
            "linear"; "wsd": flat, and over the last fifth of the run down as 1 - sqrt(progress)
            (Haegele et al. 2024, arXiv 2405.18392).
        final_ratio: rate of the last update over `lr`.
    """
    if step < 0 or total_steps < 1:
        raise ValueError(
            f"lr_at: expected step >= 0 and total_steps >= 1, got {step}, {total_steps}"
        )
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    start = warmup_steps if schedule != "wsd" else max(warmup_steps, total_steps * (1 - COOLDOWN))
    span = max(1.0, total_steps - 1 - start)
    progress = min(1.0, max(0.0, (step - start) / span))
    match schedule:
        case "constant":
            remaining = 1.0
        case "cosine":
            remaining = 0.5 * (1 + math.cos(math.pi * progress))
        case "linear":
            remaining = 1 - progress
        case "wsd":
            remaining = 1 - math.sqrt(progress)
    return lr * (final_ratio + (1 - final_ratio) * remaining)
