"""What a denoising network sees beside the noisy latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

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
    """

    context: Context
    mask: Tensor | None = None
    known: Tensor | None = None
    keep: Tensor | None = None

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
        )

    def beside(self, other: Context) -> Scene:
        """A scene of twice the items: these, and the same with another context."""
        both = [self.context, other]
        twice = self.changed(lambda tensor: torch.cat([tensor, tensor]))
        return replace(
            twice,
            context=Context(
                sequence=torch.cat(_same_length([one.sequence for one in both])),
                mask=torch.cat(_same_length([one.mask for one in both])),
                vector=torch.cat([one.vector for one in both]),
            ),
        )


def _same_length(parts: Sequence[Tensor]) -> list[Tensor]:
    """Fill parts (B, N, ...) with zeros at the end of N to the longest N."""
    longest = max(part.shape[1] for part in parts)
    filled = []
    for part in parts:
        spare = part.new_zeros(part.shape[0], longest - part.shape[1], *part.shape[2:])
        filled.append(torch.cat([part, spare], dim=1))
    return filled
