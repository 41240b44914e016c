"""Masked, parallel decoding of tokens: a few passes for each codebook, coarse to fine.

As in SoundStorm (Borsos et al. 2023, arXiv 2305.09636) and MAGNeT (Ziv et al. 2024, arXiv
2401.04577), with the schedule and the confidence of MaskGIT (Chang et al. 2022, arXiv 2202.04200).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.generators.base import mean_where
from audiogen.generators.request import Request, of_kind
from audiogen.generators.sampling import SamplingConfig, TokenSamplingConfig
from audiogen.generators.tokens.base import (
    IGNORED,
    TokenGenerator,
    TokenGeneratorConfig,
    guided,
)
from audiogen.generators.tokens.drawing import (
    draw_chances,
    draw_tokens,
    sources_of,
    temperatures,
)
from audiogen.generators.windows import in_batches, over_windows
from audiogen.nn.attention import rotary_table
from audiogen.nn.chance import rand, randint
from audiogen.nn.decoder import Decoder
from audiogen.nn.lowbit import with_weights
from audiogen.nn.transformer import Transformer
from audiogen.types import Batch, Context, LatentSpec, LossOutput

CHOICE_NOISE = 4.5
"""Gumbel noise on confidences at the start of the passes, in nats; it falls to none at their end.
Without it what is easiest would come first, and sounds would be dull (MaskGIT's value)."""


class MaskedConfig(TokenGeneratorConfig):
    """A Transformer that sees all frames and fills in masked tokens."""

    type: Literal["masked"] = "masked"


class MaskedGenerator(TokenGenerator):
    """Predicts the masked tokens of one codebook from the rest of it and the coarser ones."""

    loops = True
    keeps = "anything"
    config: MaskedConfig

    def __init__(
        self, config: MaskedConfig, spec: LatentSpec, text_dim: int, window_frames: int
    ) -> None:
        backbone = Transformer(
            config.dim, config.depth, config.num_heads, causal=False, dropout=config.dropout
        )
        super().__init__(config, spec, text_dim, window_frames, backbone)
        self.level = nn.Embedding(self.num_codebooks, config.dim)
        nn.init.normal_(self.level.weight, std=0.02)

    def forward(self, batch: Batch) -> LossOutput:
        """Cross-entropy of masked tokens, as a mean over items of the mean over an item's tokens.

        Every item has a codebook and a share of masked frames of its own. Finer codebooks are
        masked altogether, coarser ones are given.
        """
        self.check_batch(batch)
        device, count = batch.latents.device, len(batch.latents)
        rows = torch.arange(count, device=device)
        level = randint(self.num_codebooks, (count,), device)
        masked = draw_masked(batch.mask)
        codebooks = torch.arange(self.num_codebooks, device=device)[:, None]
        own = level[:, None, None]
        given = (codebooks < own) | ((codebooks == own) & ~masked[:, None])
        seen = torch.where(given & batch.mask[:, None], batch.latents, self.nothing)
        context = self.conditioner(batch.conditions)
        logits = self.predict(seen, level, context, batch.padding, self.decoder)
        targets = batch.latents[rows, level].masked_fill(~masked, IGNORED)
        losses = F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
        )
        per_item = losses.reshape(masked.shape).sum(dim=1) / masked.sum(dim=1).clamp_min(1)
        metrics = {
            f"loss_codebook_{k}": mean_where(per_item.detach(), level == k)
            for k in range(self.num_codebooks)
        }
        return LossOutput(loss=per_item.mean(), metrics=metrics)

    def predict(
        self,
        tokens: Tensor,
        level: Tensor,
        context: Context,
        mask: Tensor | None,
        decoder: Decoder,
    ) -> Tensor:
        """Logits (B, L, V) of one codebook of each item.

        Args:
            tokens: (B, K, L), "nothing here" where they are masked.
            level: which codebook (B,).
            context: of the conditions.
            mask: (B, L), True where a frame is real; None is everywhere.
            decoder: this generator's, or a copy of it.
        """
        # Masked frames are all alike, and rotary positions are relative: without their places the
        # first pass could not tell a beginning from an end (Vaswani et al. 2017, section 3.5).
        places = torch.arange(tokens.shape[2], device=tokens.device)
        waves = torch.view_as_real(rotary_table(places, self.config.dim)).flatten(-2)
        x = self.embed(tokens) + self.level(level)[:, None] + waves
        logits = self.by_codebook(decoder(x, context, mask=mask))
        rows = torch.arange(len(level), device=level.device)
        return logits[rows, :, level, :-1]

    def draw(self, request: Request) -> Tensor:
        """Fill in tokens (B, K, L), codebook after codebook; see `LatentGenerator.sample`.

        A start may keep any frames. Sounds longer than the window, and rings, are made of windows
        whose logits are blended at each pass.
        """
        sampling = of_kind(TokenSamplingConfig, request.sampling)
        decoder = with_weights(self.decoder, sampling.weights)
        return in_batches(
            lambda part: self._filled(part, sampling, decoder), request, self.window_frames
        )

    def _filled(self, request: Request, sampling: TokenSamplingConfig, decoder: Decoder) -> Tensor:
        """Tokens (B, K, L) of items that share a batch, zero behind the end of an item."""
        (tokens, keep), sources = self.given_tokens(request), sources_of(request.seeds)
        device, real = request.device, request.real
        wanted = real & ~keep
        temperature = temperatures(sampling, self.num_codebooks).to(device)
        look = self._look(request, decoder)
        for level in range(self.num_codebooks):
            masked, passes = wanted, passes_of(sampling, level)
            for done in range(1, passes + 1):
                left = (math.cos(math.pi / 2 * done / passes) * wanted.sum(dim=1)).floor()
                chances = draw_chances(sources, request.lengths, 2).to(device)
                logits = look(tokens, level)
                drawn = draw_tokens(logits, chances[..., 0], temperature[level], sampling)
                confidence = logits.log_softmax(dim=-1).gather(-1, drawn[..., None])[..., 0]
                noise = -(-chances[..., 1].log()).log()
                confidence = confidence + CHOICE_NOISE * (1 - done / passes) * noise
                filled = torch.where(masked, drawn, tokens[:, level])
                masked = lowest(confidence.masked_fill(~masked, torch.inf), left)
                tokens[:, level] = filled.masked_fill(masked, self.nothing)
        return torch.where(real[:, None], tokens, 0)

    def _look(self, request: Request, decoder: Decoder) -> Callable[[Tensor, int], Tensor]:
        """Make a function of tokens (B, K, L) and a codebook to its guided logits (B, L, V)."""
        scale, real, window = request.sampling.guidance_scale, request.real, self.window_frames
        copies = 1 if scale == 1 else 2
        context = self.guided_context(request)
        in_windows = max(request.lengths) > window  # which hold no padding
        padded = len(set(request.lengths)) > 1 and not in_windows
        turns = torch.Generator().manual_seed(0)  # the same turns of the ring for every take

        def look(tokens: Tensor, level: int) -> Tensor:
            count, _, num_frames = tokens.shape

            def on_windows(_: Tensor, items: Tensor, frames: Tensor) -> Tensor:
                rows = items[:, None]
                seen = tokens[rows, :, frames].transpose(1, 2).repeat(copies, 1, 1)
                mask = real[rows, frames].repeat(copies, 1) if padded else None
                both = torch.cat([items + count * copy for copy in range(copies)])
                levels = torch.full((len(seen),), level, device=tokens.device)
                logits = self.predict(seen, levels, context[both], mask, decoder)
                return guided(logits, scale).transpose(1, 2)

            blended = torch.zeros(count, self.vocab_size, num_frames, device=tokens.device)
            turn = float(torch.rand((), generator=turns)) if request.ring else None
            logits = over_windows(on_windows, blended, window, lengths=request.lengths, turn=turn)
            return logits.transpose(1, 2)

        return look

    def network_evaluations(self, sampling: SamplingConfig, num_frames: int) -> int:
        """Passes over a take; see `LatentGenerator.network_evaluations`."""
        del num_frames
        checked = of_kind(TokenSamplingConfig, sampling)
        return sum(passes_of(checked, level) for level in range(self.num_codebooks))


def draw_masked(mask: Tensor) -> Tensor:
    """Draw which frames are masked (B, L): a random share of the real ones, at least one.

    The share is cos(pi u / 2) of a uniform u (MaskGIT, section 3.3).

    Args:
        mask: (B, L), True where a frame is real.
    """
    share = torch.cos(rand((len(mask),), mask.device) * math.pi / 2)
    count = (share * mask.sum(dim=1)).ceil().clamp_min(1)
    order = rand(mask.shape, mask.device).masked_fill(~mask, torch.inf)
    return lowest(order, count) & mask


def lowest(values: Tensor, count: Tensor) -> Tensor:
    """Where values (B, L) are among the `count` (B,) lowest of their item."""
    return values.argsort(dim=1).argsort(dim=1) < count[:, None]


def passes_of(sampling: TokenSamplingConfig, level: int) -> int:
    """Passes for a codebook."""
    return sampling.passes[min(level, len(sampling.passes) - 1)]
