"""Step by step: tokens from a causal network with a cache, in the order of any pattern."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.generators.request import Request, of_kind
from audiogen.generators.sampling import TokenSamplingConfig
from audiogen.generators.tokens.base import TokenGenerator, guided
from audiogen.generators.tokens.drawing import (
    draw_chances,
    draw_tokens,
    sources_of,
    temperatures,
)
from audiogen.generators.tokens.patterns import build, revert
from audiogen.nn.decoder import Begin


def window_starts(num_frames: int, window: int) -> range:
    """First frames of the windows that a sound is made in, one after the other.

    Each but the first begins with half a window of frames that are there already.
    """
    return range(0, num_frames, window - window // 2)


def wanted(layout: Tensor, first: Tensor, stop: Tensor) -> Tensor:
    """Where a layout (S, K) holds the frames from `first` to `stop` of an item, each (B,).

    Returns:
        (B, K, S).
    """
    frames = layout.T
    return (frames >= first[:, None, None]) & (frames < stop[:, None, None])


def busy_steps(draw: Tensor, ask: Tensor | None = None) -> list[int]:
    """Steps at which anything is drawn, `draw` (B, K, S), or asked, `ask` (B, S)."""
    busy = draw.any(dim=1) if ask is None else draw.any(dim=1) | ask
    steps: list[int] = busy.any(dim=0).nonzero().flatten().tolist()
    return steps


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """One run over a batch.

    Attributes:
        generator: whose embeddings and conditioner are used.
        begin: how its decoder begins to take steps.
        layout: (S, K) over one frame more than the window has.
        request: what it keeps is a beginning.
        ends: whether a sound is over where the model says so, or else at its length.
    """

    generator: TokenGenerator
    begin: Begin
    layout: Tensor
    request: Request
    ends: bool

    def run(self) -> tuple[Tensor, list[int]]:
        """Make all items, window after window.

        Returns:
            Tokens (B, K, L), "nothing here" behind the end of an item, and frames of each item.
        """
        window, num_codebooks = self.generator.window_frames, self.generator.num_codebooks
        tokens, keep = self.generator.given_tokens(self.request)
        stop, sources = torch.tensor(self.request.lengths), sources_of(self.request.seeds)
        done = keep.sum(dim=1).cpu().minimum(stop)
        for first in window_starts(int(stop.max()), window):
            last = stop.clamp(max=first + window)
            items: list[int] = (done < last).nonzero().flatten().tolist()
            if not items:
                continue
            steps = [len(self.layout)] * len(items)
            chances = draw_chances([sources[index] for index in items], steps, num_codebooks)
            piece = tokens[items, :, first : first + window]
            made, reached, over = self._fill(
                items, piece, done[items] - first, last[items] - first, chances
            )
            tokens[items, :, first : first + window] = made
            done[items] = first + reached
            stop[items] = torch.where(over, first + reached, stop[items])
        return tokens, stop.tolist()

    def _fill(
        self, items: list[int], piece: Tensor, known: Tensor, stop: Tensor, chances: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Make the frames of a window `piece` (b, K, W) from `known` (b,) to `stop` (b,).

        By `chances` (b, S, K). Returns the window, how many frames of it each item has (b,), and
        whether the sound is over then (b,).
        """
        layout, nothing = self.layout, self.generator.nothing
        device, width = piece.device, piece.shape[-1]
        chances, known, reached = chances.to(device), known.to(device), stop.to(device)
        draw = wanted(layout, known, reached)
        # Whether the sound ends with its last frame is asked in the frame behind it.
        ask = (layout[:, 0] == reached[:, None]) & self.ends
        over = torch.zeros_like(ask[:, 0])
        room = self.generator.window_frames + 1 - width
        sequence = build(layout, F.pad(piece, (0, room), value=nothing), nothing)
        # A step sees the tokens of the one before: what it holds stands one place further on.
        sequence = F.pad(sequence, (1, 0), value=nothing)
        steps, coarse_frames = busy_steps(draw, ask), layout[:, 0].tolist()
        read, num_read = self._reader(items, steps[-1] + 1), 0
        sampling = of_kind(TokenSamplingConfig, self.request.sampling)
        temperature = temperatures(sampling, self.generator.num_codebooks).to(device)
        for step in steps:
            frame, here = coarse_frames[step], draw[..., step]
            # The frame behind what is known was asked in the window before; no sound is empty.
            logits = self._allowed(read(sequence[..., num_read : step + 1]), may_end=frame > known)
            num_read = step + 1
            drawn = draw_tokens(logits, chances[:, step], temperature, sampling)
            sequence[..., step + 1] = torch.where(here, drawn, sequence[..., step + 1])
            if self.ends:
                ended = (here[:, 0] | ask[:, step]) & (drawn[:, 0] == nothing)
                over, reached = over | ended, torch.where(ended, frame, reached)
                draw, ask = draw & wanted(layout, known, reached), ask & ~over[:, None]
                if not bool(draw[..., step + 1 :].any() | ask[:, step + 1 :].any()):
                    break
        return revert(layout, sequence[..., 1:])[..., :width], reached.cpu(), over.cpu()

    def _reader(self, items: list[int], max_steps: int) -> Callable[[Tensor], Tensor]:
        """Make a function of what follows in a sequence, (b, K, s), to guided logits behind it."""
        request, generator = self.request[items], self.generator
        scale = request.sampling.guidance_scale
        step = self.begin(generator.guided_context(request), max_steps)

        def read(tokens: Tensor) -> Tensor:
            x = generator.embed(tokens)
            logits = step(x if scale == 1 else torch.cat([x, x]))
            return guided(generator.by_codebook(logits), scale)

        return read

    def _allowed(self, logits: Tensor, *, may_end: Tensor) -> Tensor:
        """Forbid the end in logits (B, K, V + 1): but in the first codebook of items that may."""
        if not self.ends:
            return logits[..., :-1]
        forbidden = torch.ones_like(logits, dtype=torch.bool)
        forbidden[..., :-1] = False
        forbidden[:, 0, -1] = ~may_end
        return logits.masked_fill(forbidden, -torch.inf)
