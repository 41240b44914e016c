"""What the generators of tokens share: embeddings, heads, conditioning, guidance, checks."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from audiogen.conditioning.conditioner import Conditioner
from audiogen.generators.base import LatentGenerator
from audiogen.generators.config import NetworkConfig
from audiogen.generators.guidance import joined
from audiogen.generators.request import Request
from audiogen.generators.sampling import TokenSamplingConfig
from audiogen.nn.decoder import Backbone, Decoder
from audiogen.types import Batch, Context, Kind, LatentSpec

IGNORED = -100
"""Stands among targets where nothing is to be learnt."""


class TokenGeneratorConfig(NetworkConfig):
    """The network and the conditioning of a generator of tokens."""

    dim: int = Field(default=256, gt=0)
    depth: int = Field(default=6, gt=0)
    num_heads: int = Field(default=4, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Of the Transformer, while training; a small set is soon learnt by heart without it."""


class TokenGenerator(LatentGenerator):
    """A network from K codebooks of V tokens to logits.

    Every codebook has one id more than tokens, V. As an input it is "nothing here": before the
    start, in a pattern's hole, behind the end of a sound, or masked. As an output of the first
    codebook it is "the sound has ended"; the other codebooks never give it.
    """

    accepts: ClassVar[Kind] = "tokens"
    sampling = TokenSamplingConfig

    def __init__(
        self,
        config: TokenGeneratorConfig,
        spec: LatentSpec,
        text_dim: int,
        window_frames: int,
        backbone: Backbone,
    ) -> None:
        super().__init__(config, spec, text_dim, window_frames)
        if spec.vocab_size is None:
            raise ValueError("tokens: the codec's spec has no vocab_size")
        self.num_codebooks, self.vocab_size = spec.channels, spec.vocab_size
        rows = self.num_codebooks * (self.vocab_size + 1)
        self.conditioner = Conditioner(config.conditioner, text_dim, config.dim)
        self.embedding = nn.Embedding(rows, config.dim)
        heads = nn.Linear(config.dim, rows)
        self.decoder = Decoder(backbone, heads)
        # The sum over codebooks has unit variance; untrained logits are all about alike.
        nn.init.normal_(self.embedding.weight, std=self.num_codebooks**-0.5)
        nn.init.normal_(heads.weight, std=0.02)
        nn.init.zeros_(heads.bias)

    @property
    def nothing(self) -> int:
        """V: the id of "nothing here" and of "the sound has ended"."""
        return self.vocab_size

    def embed(self, tokens: Tensor) -> Tensor:
        """Sum the embeddings of tokens (B, K, S): (B, S, dim)."""
        first = torch.arange(self.num_codebooks, device=tokens.device) * (self.vocab_size + 1)
        embedded: Tensor = self.embedding(tokens + first[:, None])
        return embedded.sum(dim=1)

    def by_codebook(self, raw: Tensor) -> Tensor:
        """What the heads give, (..., K (V + 1)), as float32 logits (..., K, V + 1)."""
        return raw.float().reshape(*raw.shape[:-1], self.num_codebooks, self.vocab_size + 1)

    def guided_context(self, request: Request) -> Context:
        """Context of B items, or, where guidance acts, of 2 B: with and without the prompt."""
        context: Context = self.conditioner(request.conditions)
        if request.sampling.guidance_scale == 1:
            return context
        opposite = request.negative or request.conditions.without_prompt()
        return joined(context, self.conditioner(opposite))

    def check(self, request: Request) -> None:
        """Raise ValueError when a request asks for what this generator cannot do."""
        super().check(request)
        start, shape = request.start, (len(request.seeds), self.num_codebooks, max(request.lengths))
        if start.noise is not None or start.level < 1:
            raise ValueError(
                "sample: tokens are drawn and not made of noise: Start.noise and Start.level say"
                " nothing here\n"
                "  take other seeds, or keep frames with Start.latents and Start.keep"
            )
        if start.latents is None or start.keep is None:
            return
        if start.latents.shape != shape or start.keep.shape != (shape[0], shape[2]):
            raise ValueError(
                f"sample: expected Start.latents {shape} and Start.keep {(shape[0], shape[2])},"
                f" got {tuple(start.latents.shape)} and {tuple(start.keep.shape)}"
            )
        kept = torch.where(start.keep[:, None], start.latents, 0)
        if kept.is_floating_point() or kept.min() < 0 or kept.max() >= self.vocab_size:
            raise ValueError(
                f"sample: Start.latents must be tokens, whole numbers from 0 to"
                f" {self.vocab_size - 1}; encode the sound with the model's own codec"
            )

    def given_tokens(self, request: Request) -> tuple[Tensor, Tensor]:
        """Tokens (B, K, L), "nothing here" where none are given, and where (B, L) they are."""
        start, real = request.start, request.real
        shape = (len(real), self.num_codebooks, real.shape[1])
        nothing = torch.full(shape, self.nothing, device=request.device)
        if start.latents is None or start.keep is None:
            return nothing, torch.zeros_like(real)
        keep = start.keep.to(request.device)
        return torch.where(keep[:, None], start.latents.to(request.device), nothing), keep

    def check_batch(self, batch: Batch) -> None:
        """Raise ValueError when a batch is not of this codec's tokens or longer than a window."""
        _, num_codebooks, num_frames = batch.latents.shape
        if num_codebooks != self.num_codebooks or num_frames > self.window_frames:
            raise ValueError(
                f"{type(self).__name__}: expected tokens (B, {self.num_codebooks}, L) of at most"
                f" {self.window_frames} frames, got {tuple(batch.latents.shape)}"
            )


def guided(logits: Tensor, scale: float) -> Tensor:
    """Guide logits: uncond + scale (cond - uncond) (Ho and Salimans 2022, on logits).

    Args:
        logits: (2 B, ...), with the prompt and then without; (B, ...) where the scale is 1.
        scale: 1 is off.
    """
    if scale == 1:
        return logits
    conditional, unconditional = logits.chunk(2)
    return unconditional + scale * (conditional - unconditional)
