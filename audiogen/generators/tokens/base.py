"""What the generators of tokens share: embeddings, heads, conditioning, guidance, checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from audiogen.conditioning.conditioner import Conditioner
from audiogen.generators.base import LatentGenerator
from audiogen.generators.config import NetworkConfig
from audiogen.generators.ode.scene import Scene
from audiogen.generators.request import Request, of_kind
from audiogen.generators.sampling import TokenSamplingConfig
from audiogen.nn.decoder import Backbone, Decoder
from audiogen.types import Batch, Conditions, Context, Kind, LatentSpec

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

    def guided_context(
        self, conditions: Conditions, negative: Conditions | None, scale: float
    ) -> Context:
        """Context of B items, or, where guidance acts, of 2 B: with and without the prompt."""
        context: Context = self.conditioner(conditions)
        if scale == 1:
            return context
        opposite = self.conditioner(negative or conditions.without_prompt())
        return Scene(context=context).beside(opposite).context

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


@dataclass(frozen=True, kw_only=True)
class TokenRequest(Request):
    """What is to be sampled, with the tokens that are given.

    Attributes:
        tokens: (B, K, L), given where `keep`, else "nothing here".
        keep: (B, L), True where tokens are given.
    """

    sampling: TokenSamplingConfig
    tokens: Tensor
    keep: Tensor

    @classmethod
    def of(cls, generator: TokenGenerator, request: Request) -> TokenRequest:
        """Add the tokens that the start of a request gives.

        Raises:
            ValueError: settings of another family, or a start that is not one of tokens.
        """
        start, longest = request.start, max(request.lengths)
        shape = (len(request.lengths), generator.num_codebooks, longest)
        if start.noise is not None or start.level < 1:
            raise ValueError(
                "sample: tokens are drawn and not made of noise: Start.noise and Start.level say"
                " nothing here\n"
                "  take other seeds, or keep frames with Start.latents and Start.keep"
            )
        keep = (
            torch.zeros(shape[0], longest, dtype=torch.bool) if start.keep is None else start.keep
        )
        given = torch.zeros(shape, dtype=torch.int64) if start.latents is None else start.latents
        if given.shape != shape or keep.shape != (shape[0], longest):
            raise ValueError(
                f"sample: expected Start.latents {shape} and Start.keep {(shape[0], longest)},"
                f" got {tuple(given.shape)} and {tuple(keep.shape)}"
            )
        kept = torch.where(keep[:, None], given, 0)
        if kept.is_floating_point() or kept.min() < 0 or kept.max() >= generator.vocab_size:
            raise ValueError(
                f"sample: Start.latents must be tokens, whole numbers from 0 to"
                f" {generator.vocab_size - 1}; encode the sound with the model's own codec"
            )
        fields = vars(request) | {
            "sampling": of_kind(TokenSamplingConfig, request.sampling),
            "tokens": torch.where(keep[:, None], given, generator.nothing).to(request.device),
            "keep": keep.to(request.device),
        }
        return cls(**fields)

    def __getitem__(self, items: Sequence[int]) -> Self:
        """Return the same for some of the items, cut to the longest of them."""
        index = list(items)
        longest = max(self.lengths[item] for item in index)
        tokens, keep = self.tokens[index, :, :longest], self.keep[index, :longest]
        return replace(super().__getitem__(index), tokens=tokens, keep=keep)
