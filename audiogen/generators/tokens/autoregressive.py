"""A language model over codec tokens (Copet et al. 2023, MusicGen, arXiv 2306.05284)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from audiogen.conditioning.controls import ROLES
from audiogen.generators.abilities import EndsSounds, PredictsTokens
from audiogen.generators.request import Request, of_kind
from audiogen.generators.sampling import SamplingConfig, TokenSamplingConfig
from audiogen.generators.tokens.base import (
    IGNORED,
    TokenGenerator,
    TokenGeneratorConfig,
)
from audiogen.generators.tokens.patterns import PATTERNS, PatternName, build
from audiogen.generators.tokens.stepwise import Decoding, busy_steps, wanted, window_starts
from audiogen.nn.chance import rand
from audiogen.nn.compiled import compiled
from audiogen.nn.decoder import Backbone, Decoder
from audiogen.nn.lowbit import WeightKind, with_weights
from audiogen.nn.lstm import CausalLSTM
from audiogen.nn.transformer import Transformer
from audiogen.types import Batch, LatentSpec, LossOutput

WHOLE = float(ROLES.index("whole"))


class AutoregressiveConfig(TokenGeneratorConfig):
    """A decoder over codec tokens, step by step."""

    type: Literal["autoregressive"] = "autoregressive"
    backbone: Literal["transformer", "lstm"] = "transformer"
    pattern: PatternName = "delay"
    """In which order the codebooks of the frames are generated."""
    token_dropout: float = Field(default=0.1, ge=0, lt=0.5)
    """Mean share of the earlier tokens that are hidden while training. It differs from item to
    item, and keeps a small set from being learnt by heart (Bowman et al. 2016, word dropout)."""


class AutoregressiveGenerator(TokenGenerator, EndsSounds, PredictsTokens):
    """Predicts the tokens of a step from those of earlier steps, in the order of a pattern."""

    keeps = "beginnings"
    config: AutoregressiveConfig
    layout: Tensor

    def __init__(
        self, config: AutoregressiveConfig, spec: LatentSpec, text_dim: int, window_frames: int
    ) -> None:
        super().__init__(config, spec, text_dim, window_frames, _backbone(config))
        # One frame more, in which a sound that fills the window ends. Shorter sounds have this
        # layout too: where a codebook begins may depend on how many frames there are.
        with torch.device("cpu"):  # it is computed with, even where models are built without memory
            layout = PATTERNS[config.pattern](self.num_codebooks, window_frames + 1)
        self.register_buffer("layout", layout, persistent=False)

    def forward(self, batch: Batch) -> LossOutput:
        """Cross-entropy of the real tokens, and of the end in whole sounds.

        It is the mean over items of the mean over an item's tokens. The end is learnt in the first
        codebook, at the first frame behind the sound.
        """
        losses, real = self._losses(batch, self.decoder, ends=True)
        per_item = losses.sum(dim=(1, 2)) / real.sum(dim=(1, 2)).clamp_min(1)
        codebooks = losses.detach().sum(dim=(0, 2)) / real.sum(dim=(0, 2)).clamp_min(1)
        metrics = {f"loss_codebook_{k}": loss for k, loss in enumerate(codebooks)}
        return LossOutput(loss=per_item.mean(), metrics=metrics)

    @torch.no_grad()
    def log_likelihood(self, batch: Batch, *, weights: WeightKind = "fp32") -> Tensor:
        """Sum log p of the real tokens, as `PredictsTokens` says; without guidance.

        It is exact: by the chain rule, for sounds of the given lengths (the end is left out, as in
        `sample`).

        Raises:
            ValueError: the generator is in training mode, or the batch does not fit.
        """
        if self.training:
            raise ValueError(
                "log_likelihood: the generator is in training mode, which drops conditions;"
                " call generator.eval() first"
            )
        losses, _ = self._losses(batch, with_weights(self.decoder, weights), ends=False)
        return -losses.sum(dim=2, dtype=torch.float64)

    def _losses(self, batch: Batch, decoder: Decoder, *, ends: bool) -> tuple[Tensor, Tensor]:
        """Cross-entropies (B, K, S), zero where nothing is to be learnt, and where that is not."""
        self.check_batch(batch)
        targets = build(self.layout, self._targets(batch, ends=ends), IGNORED)
        logits = self._logits(batch, decoder)
        losses = []
        # Taken apart at once: a slice for each has a gradient as large as the whole.
        for k, own in enumerate(logits.unbind(dim=2)):
            classes = self.vocab_size + (1 if ends and k == 0 else 0)
            rows, wanted_here = own[..., :classes].flatten(0, 1), targets[:, k].flatten()
            loss = F.cross_entropy(rows, wanted_here, ignore_index=IGNORED, reduction="none")
            losses.append(loss.reshape(targets[:, k].shape))
        return torch.stack(losses, dim=1), targets != IGNORED

    def _targets(self, batch: Batch, *, ends: bool) -> Tensor:
        """What is to be learnt (B, K, window + 1): real tokens, and with `ends` the end."""
        targets = self._framed(batch, IGNORED)
        if ends:
            whole = batch.conditions.controls["role"] == WHOLE
            places = torch.arange(targets.shape[2], device=targets.device)
            over = (places == batch.mask.sum(dim=1)[:, None]) & whole[:, None]
            targets[:, 0] = targets[:, 0].masked_fill(over, self.nothing)
        return targets

    def _framed(self, batch: Batch, fill: int) -> Tensor:
        """Tokens (B, K, window + 1) with `fill` in all frames that are not real."""
        tokens = torch.where(batch.mask[:, None], batch.latents, fill)
        return F.pad(tokens, (0, self.window_frames + 1 - tokens.shape[2]), value=fill)

    def _logits(self, batch: Batch, decoder: Decoder) -> Tensor:
        """Logits (B, S, K, V + 1) of every step, from the real tokens of the steps before it."""
        sequence = build(self.layout, self._framed(batch, self.nothing), self.nothing)
        seen = F.pad(sequence[..., :-1], (1, 0), value=self.nothing)
        if self.training and self.config.token_dropout:
            share = 2 * self.config.token_dropout * rand((len(seen), 1, 1), seen.device)
            hidden_tokens = rand(seen.shape, seen.device) < share
            seen = seen.masked_fill(hidden_tokens, self.nothing)
        return self.by_codebook(decoder(self.embed(seen), self.conditioner(batch.conditions)))

    def draw(self, request: Request) -> Tensor:
        """Sample tokens (B, K, L) of exactly the lengths asked for; see `LatentGenerator.sample`.

        A start may keep the beginning of a sound, of any length, which is continued. A sound longer
        than the window is made window by window, each from the last half of the one before.
        """
        tokens, _ = self._decode(request, ends=False)
        return torch.where(tokens == self.nothing, 0, tokens)

    @torch.no_grad()
    def sample_to_end(self, request: Request) -> list[Tensor]:
        """Sample sounds that end where the model ends them; see `EndsSounds`."""
        self.check(request)
        tokens, lengths = self._decode(request, ends=True)
        return [row[:, :length] for row, length in zip(tokens, lengths, strict=True)]

    def _decode(self, request: Request, *, ends: bool) -> tuple[Tensor, list[int]]:
        sampling = of_kind(TokenSamplingConfig, request.sampling)
        return Decoding(
            generator=self,
            begin=compiled(self.decoder, sampling.weights),
            layout=self.layout,
            request=request,
            ends=ends,
        ).run()

    def network_evaluations(self, sampling: SamplingConfig, num_frames: int) -> int:
        """Steps of the network for one take; see `LatentGenerator.network_evaluations`."""
        of_kind(TokenSamplingConfig, sampling)
        done, count = 0, 0
        for first in window_starts(num_frames, self.window_frames):
            stop = min(num_frames, first + self.window_frames)
            span = torch.tensor([[done - first], [stop - first]], device=self.layout.device)
            count += len(busy_steps(wanted(self.layout, span[0], span[1])))
            done = stop
        return count


def _backbone(config: AutoregressiveConfig) -> Backbone:
    if config.backbone == "lstm":
        return CausalLSTM(config.dim, config.depth)
    return Transformer(
        config.dim, config.depth, config.num_heads, causal=True, dropout=config.dropout
    )
