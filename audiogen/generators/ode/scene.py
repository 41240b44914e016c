"""What a denoising network sees beside the noisy latents."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from audiogen.generators.guidance import joined
from audiogen.items import Items
from audiogen.types import Context


@dataclass(frozen=True, kw_only=True)
class Scene(Items):
    """What the network sees beside noisy latents (B, D, L).

    Attributes:
        context: of the conditions.
        mask: (B, L), True where a frame is real; None is everywhere.
        known: latents (B, D, L) that are given where `keep` is True; None when nothing is.
        keep: (B, L); None when nothing is given.
        left_out: (B, depth), True where an item passes a block of the network by; None is nowhere.
    """

    context: Context
    mask: Tensor | None = None
    known: Tensor | None = None
    keep: Tensor | None = None
    left_out: Tensor | None = None

    @property
    def given(self) -> tuple[Tensor, Tensor] | None:
        """What the network is told: `known` and `keep`."""
        return None if self.known is None or self.keep is None else (self.known, self.keep)

    def at(self, items: Tensor, frames: Tensor) -> Scene:
        """The same scene for frames (R, W) of items (R,)."""
        rows = items[:, None]
        return Scene(
            context=self.context[items],
            mask=None if self.mask is None else self.mask[rows, frames],
            known=None if self.known is None else self.known[rows, :, frames].transpose(1, 2),
            keep=None if self.keep is None else self.keep[rows, frames],
            left_out=None if self.left_out is None else self.left_out[items],
        )

    def beside(self, other: Context, left_out: Tensor | None = None) -> Scene:
        """A scene of twice the items: these, and the same with another context.

        Args:
            other: of the second ones.
            left_out: (depth,), True for the blocks that the second ones pass by.
        """
        twice = self.changed(lambda tensor: torch.cat([tensor, tensor]))
        if left_out is not None:
            rows = torch.stack([torch.zeros_like(left_out), left_out])
            left_out = rows.repeat_interleave(len(other.vector), dim=0)
        return replace(twice, context=joined(self.context, other), left_out=left_out)
