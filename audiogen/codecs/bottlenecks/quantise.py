"""Bottlenecks of tokens: residual vector quantisation, and residual finite scalars.

Both code a latent frame in K stages. Stage k projects what the earlier stages left over to a few
numbers, replaces them by the nearest entry of its codebook, and projects back (the factorised codes
of Yu et al. 2021, arXiv 2110.04627, and DAC, Kumar et al. 2023, arXiv 2306.06546). The sum of the
first k stages is the latent frame at k codebooks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from audiogen.codecs.bottlenecks.codebooks import Codebooks
from audiogen.codecs.bottlenecks.whitening import Whitening
from audiogen.nn.chance import rand, randint
from audiogen.nn.processes import sum_over_processes
from audiogen.schema import Config, OneOf


class ResidualVQConfig(Config):
    """Residual vector quantisation with learnt codebooks."""

    type: Literal["residual"] = "residual"
    num_codebooks: int = Field(default=4, ge=1)
    """Stages, and tokens per latent frame that they give."""
    vocab_size: int = Field(default=1024, ge=2)
    """V, entries per codebook."""
    code_dim: int = Field(default=8, ge=1)
    """Numbers per entry."""
    dropout: float = Field(default=0.25, ge=0, le=1)
    """Share of the training items that are decoded from a random number of codebooks."""
    commitment_weight: float = Field(default=0.25, ge=0)
    """Weight of the distance between projected latents and their entries, mean over stages."""
    decay: float = Field(default=0.99, gt=0, lt=1)
    """Weight of the past in the entries' running means, per step."""
    revive_below: float = Field(default=0.05, ge=0, lt=0.5)
    """Entries used less than this share of the mean use are replaced."""


class FSQConfig(Config):
    """Finite scalar quantisation (Mentzer et al. 2023, arXiv 2309.15505), in residual stages."""

    type: Literal["fsq"] = "fsq"
    num_codebooks: int = Field(default=8, ge=1)
    """Stages, and tokens per latent frame that they give."""
    levels: tuple[Annotated[int, Field(ge=2)], ...] = Field(default=(8, 5, 5, 5), min_length=1)
    """Values that each number of a stage may take; their product is V."""
    dropout: float = Field(default=0.25, ge=0, le=1)
    """Share of the training items that are decoded from a random number of codebooks."""
    decay: float = Field(default=0.99, gt=0, lt=1)
    """Weight of the past in the running mean and covariance of what a stage quantises, per step."""
    usage_weight: float = Field(default=0.1, ge=0)
    """Weight of the divergence of a batch's use of entries from even use, mean over stages."""

    @property
    def vocab_size(self) -> int:
        """V, entries per codebook."""
        return math.prod(self.levels)


BottleneckConfig = Annotated[
    ResidualVQConfig | FSQConfig, OneOf(lambda: [ResidualVQConfig, FSQConfig], default="residual")
]


@dataclass(frozen=True)
class _Stage:
    """What one stage made of B * L frames.

    Attributes:
        projected: what was left over, as few numbers (B, L, d).
        code: the nearest entries (B, L, d).
        tokens: their numbers (B, L).
        part: what the stage adds to the latents (B, L, D).
    """

    projected: Tensor
    code: Tensor
    tokens: Tensor
    part: Tensor


class ResidualQuantiser(nn.Module, ABC):
    """Stages of projection, nearest entry and projection back; the kind of entry is a subclass.

    Each of K stages quantises d = `code_dim` numbers of the D = `dim` channels of a latent frame.
    """

    def __init__(self, dim: int, code_dim: int, num_codebooks: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for _ in range(num_codebooks):
            down, up = nn.Linear(dim, code_dim), nn.Linear(code_dim, dim)
            nn.init.orthogonal_(down.weight)
            up.weight.data.copy_(down.weight.data.T)  # a stage takes away what it has coded
            nn.init.zeros_(down.bias)
            nn.init.zeros_(up.bias)
            self.down.append(down)
            self.up.append(up)

    @abstractmethod
    def nearest(self, index: int, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest entries (..., d) of stage `index` and their numbers (...)."""

    @abstractmethod
    def entries(self, index: int, tokens: Tensor) -> Tensor:
        """Entries (..., d) of stage `index` by their numbers (...)."""

    @abstractmethod
    def learn(self, stages: list[_Stage]) -> dict[str, Tensor]:
        """Losses {name: ()} of a training pass."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Quantise latents; gradients pass straight through.

        Args:
            x: (B, D, L).

        Returns:
            What the decoder is given (B, D, L), tokens (B, K, L), and losses {name: ()}. While
            training, some items are given fewer codebooks.
        """
        with torch.autocast(x.device.type, enabled=False):
            stages = self._stages(x.float().transpose(1, 2))
            kept = self._kept(x)
            quantised = torch.zeros_like(stages[0].part)
            for index, stage in enumerate(stages):
                quantised = quantised + stage.part * (index < kept)[:, None, None]
            losses = self.learn(stages) if self.training else {}
        tokens = torch.stack([stage.tokens for stage in stages], dim=1)
        return quantised.transpose(1, 2), tokens, losses

    @torch.no_grad()
    def tokens(self, x: Tensor) -> Tensor:
        """Tokens (B, K, L) int64 of latents (B, D, L)."""
        with torch.autocast(x.device.type, enabled=False):
            stages = self._stages(x.float().transpose(1, 2))
        return torch.stack([stage.tokens for stage in stages], dim=1)

    def from_tokens(self, tokens: Tensor) -> Tensor:
        """Latents (B, D, L) of the first k codebooks' tokens (B, k, L)."""
        parts = [self.up[k](self.entries(k, row)) for k, row in enumerate(tokens.unbind(dim=1))]
        return torch.stack(parts).sum(dim=0).transpose(1, 2)

    def _stages(self, residual: Tensor) -> list[_Stage]:
        """Run every stage on what the earlier ones leave over of (B, L, D)."""
        stages = []
        for index, (down, up) in enumerate(zip(self.down, self.up, strict=True)):
            projected = down(residual)
            code, tokens = self.nearest(index, projected)
            part = up(projected + (code - projected).detach())  # straight-through gradient
            residual = residual - part
            stages.append(_Stage(projected, code, tokens, part))
        return stages

    def _kept(self, x: Tensor) -> Tensor:
        """How many codebooks each item (B,) of x is decoded from."""
        kept = torch.full(x.shape[:1], len(self.up), device=x.device)
        if self.training and self.dropout:
            few = rand(kept.shape, x.device) < self.dropout
            kept = torch.where(few, 1 + randint(len(self.up), kept.shape, x.device), kept)
        return kept


class ResidualVQ(ResidualQuantiser):
    """Stages with learnt codebooks, looked up by direction (L2-normalised, as in DAC)."""

    def __init__(self, config: ResidualVQConfig, dim: int) -> None:
        super().__init__(dim, config.code_dim, config.num_codebooks, config.dropout)
        self.commitment_weight = config.commitment_weight
        self.codebooks = Codebooks(
            config.num_codebooks,
            config.vocab_size,
            config.code_dim,
            decay=config.decay,
            revive_below=config.revive_below,
        )

    def nearest(self, index: int, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Entries (..., d) of the nearest direction and their numbers (...)."""
        if self.training:
            self.codebooks.initialise(index, projected.detach().flatten(0, -2))
        tokens = self.codebooks.nearest(index, projected)
        return self.entries(index, tokens), tokens

    def entries(self, index: int, tokens: Tensor) -> Tensor:
        """Entries (..., d) of stage `index` by their numbers (...)."""
        return F.embedding(tokens, self.codebooks.entries[index])

    def learn(self, stages: list[_Stage]) -> dict[str, Tensor]:
        """Move the entries to what they stand for; every stage commits to its entries."""
        projected = torch.stack([stage.projected.flatten(0, 1) for stage in stages])
        codes = torch.stack([stage.code.flatten(0, 1) for stage in stages])
        tokens = torch.stack([stage.tokens.flatten() for stage in stages])
        self.codebooks.learn(projected.detach(), tokens)
        commitment = F.mse_loss(projected, codes.detach())
        return {"commitment": self.commitment_weight * commitment}


class FSQ(ResidualQuantiser):
    """Stages whose entries are a fixed grid of equally likely cells.

    Numbers bounded by tanh and rounded (Mentzer et al.) leave most entries unused once their spread
    does not fit the grid, in particular in later stages, which see what the earlier ones leave
    over. So each stage's numbers are whitened by running statistics first, and mapped to (0, 1) by
    the normal distribution function, so that levels are equally likely where the numbers are
    normal (as iFSQ does by a sigmoid: Lin et al. 2026, arXiv 2601.17124).

    White numbers may still lie on a curve that misses most cells. So training draws each stage's
    use of its entries towards even use (the entropy of MAGVIT-v2, Yu et al. 2023, arXiv 2310.05737,
    of the whole batch over all processes).
    """

    levels: Tensor
    basis: Tensor
    grid: Tensor
    cells: Tensor

    def __init__(self, config: FSQConfig, dim: int) -> None:
        super().__init__(dim, len(config.levels), config.num_codebooks, config.dropout)
        self.whitening = Whitening(config.num_codebooks, len(config.levels), config.decay)
        levels = torch.tensor(config.levels)
        basis = torch.tensor([1, *config.levels[:-1]]).cumprod(0)
        steps = torch.arange(config.vocab_size)[:, None] // basis % levels
        self.register_buffer("levels", levels, persistent=False)
        self.register_buffer("basis", basis, persistent=False)
        middles = torch.special.ndtri((steps + 0.5) / levels)
        self.register_buffer("grid", middles, persistent=False)  # (V, d), white
        self.register_buffer("cells", steps + 0.5, persistent=False)  # (V, d), in levels
        self.usage_weight = config.usage_weight

    def nearest(self, index: int, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Entries (..., d) of the cells that the numbers lie in, and the cells' numbers (...)."""
        if self.training:
            self.whitening.learn(index, projected.detach().flatten(0, -2))
        found = self._in_levels(index, projected.detach()).long()
        steps = found.clamp(torch.zeros_like(self.levels), self.levels - 1)
        tokens = (steps * self.basis).sum(dim=-1)
        return self.entries(index, tokens), tokens

    def entries(self, index: int, tokens: Tensor) -> Tensor:
        """Entries (..., d) of stage `index` by their numbers (...): the middles of the cells."""
        return self.whitening.restore(index, F.embedding(tokens, self.grid))

    def learn(self, stages: list[_Stage]) -> dict[str, Tensor]:
        """Kullback-Leibler divergence of the stages' use of entries from even use, weighted.

        Its gradient is that of the whole batch, also where each process has a part of it.
        """
        if not self.usage_weight:
            return {}
        divergences = []
        for index, stage in enumerate(stages):
            place = self._in_levels(index, stage.projected.flatten(0, 1))
            # A frame counts for the cells around it by exp(-2 r^2), so that it can be moved; of the
            # distance r, in levels, its own square is left out, which changes no share.
            near = (4 * place @ self.cells.T - 2 * self.cells.square().sum(dim=-1)).softmax(dim=-1)
            total = sum_over_processes(near.detach().sum(dim=0))
            share = total / total.sum()
            price = (share.clamp_min(torch.finfo(share.dtype).tiny) * len(share)).log()
            divergences.append((near @ price).mean())
        return {"usage": self.usage_weight * torch.stack(divergences).mean()}

    def _in_levels(self, index: int, projected: Tensor) -> Tensor:
        """Where numbers (..., d) lie among their levels: a level is the whole part."""
        likely: Tensor = torch.special.ndtr(self.whitening.whiten(index, projected))
        return likely * self.levels


def build_bottleneck(config: ResidualVQConfig | FSQConfig, dim: int) -> ResidualQuantiser:
    """Make the bottleneck that `config` describes for latents of `dim` channels."""
    return FSQ(config, dim) if isinstance(config, FSQConfig) else ResidualVQ(config, dim)
