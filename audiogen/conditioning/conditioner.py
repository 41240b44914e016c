"""The trained part of conditioning: text states and controls to what the network sees."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from audiogen.conditioning.controls import CONTROL_RANGES
from audiogen.nn.chance import rand
from audiogen.schema import Config
from audiogen.types import Conditions, Context


class ConditionerConfig(Config):
    """How conditions are dropped while training, each per item and on its own."""

    prompt_dropout: float = Field(default=0.1, ge=0, le=1)
    """Share of items trained without prompt; guidance needs some."""
    control_dropout: float = Field(default=0.2, ge=0, le=1)
    """Share of items trained without each control."""


class Conditioner(nn.Module):
    """Projects conditions to width `dim`; learnt vectors stand for what is not given."""

    def __init__(self, config: ConditionerConfig, text_dim: int, dim: int) -> None:
        super().__init__()
        self.config = config
        self.text = nn.Linear(text_dim, dim)
        self.pooled = nn.Linear(text_dim, dim)
        self.null_token = nn.Parameter(torch.randn(dim) * 0.02)
        self.null_pooled = nn.Parameter(torch.zeros(dim))
        self.controls = nn.ModuleDict({name: ControlEmbedding(dim) for name in CONTROL_RANGES})

    def keep_all(self) -> None:
        """Drop nothing while training from now on."""
        self.config = ConditionerConfig(prompt_dropout=0, control_dropout=0)

    def forward(self, conditions: Conditions) -> Context:
        """Project conditions of B items; while training, drop some of them at random.

        Returns:
            Context whose sequence (B, 1 + N, dim) begins with a learnt token that is always there.
        """
        batch = len(conditions)
        given = conditions.text_mask.any(dim=1)
        if self.training:
            given = given & (self._chances(given) >= self.config.prompt_dropout)
        null = self.null_token.expand(batch, 1, -1)
        sequence = torch.cat([null, self.text(conditions.text)], dim=1)
        mask = torch.cat(
            [torch.ones_like(given)[:, None], conditions.text_mask & given[:, None]], dim=1
        )
        vector = torch.where(given[:, None], self.pooled(conditions.pooled), self.null_pooled)
        for name, embedding in self.controls.items():
            low, high = CONTROL_RANGES[name]
            value = (conditions.controls[name] - low) / (high - low)
            if self.training:
                dropped = self._chances(given) < self.config.control_dropout
                value = value.masked_fill(dropped, torch.nan)
            vector = vector + embedding(value)
        return Context(sequence=sequence, mask=mask, vector=vector)

    def _chances(self, like: Tensor) -> Tensor:
        """Independent uniform numbers (B,)."""
        return rand((like.shape[0],), like.device)


class ControlEmbedding(nn.Module):
    """A number in about [0, 1], or NaN for "not given", as a vector."""

    frequencies: Tensor

    def __init__(self, dim: int, num_frequencies: int = 16) -> None:
        super().__init__()
        frequencies = 2 ** torch.linspace(0, 5, num_frequencies) * torch.pi / 2
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.mlp = nn.Sequential(
            nn.Linear(2 * num_frequencies, dim), nn.SiLU(), nn.Linear(dim, dim)
        )
        self.null = nn.Parameter(torch.zeros(dim))

    def forward(self, value: Tensor) -> Tensor:
        """Map (B,) to (B, dim)."""
        angles = value.nan_to_num()[:, None] * self.frequencies
        known = self.mlp(torch.cat([angles.sin(), angles.cos()], dim=1))
        return torch.where(value.isnan()[:, None], self.null, known)
