"""What some generators can do besides sampling.

Whoever needs one of these asks `isinstance` for it, and for no family of generators by name.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from audiogen.conditioning.conditioner import Conditioner
from audiogen.generators.base import LatentGenerator
from audiogen.generators.request import Request
from audiogen.nn.lowbit import WeightKind
from audiogen.types import Batch


class EndsSounds(LatentGenerator):
    """A generator that knows where a sound ends."""

    @abstractmethod
    def sample_to_end(self, request: Request) -> list[Tensor]:
        """Sample sounds that end where the model ends them, or are cut at their length.

        Args:
            request: whose conditions have the role "whole", whose ends are learnt, and no
                `seconds` (NaN), which would tell the end.

        Returns:
            Latents of each item (D, L) or tokens (K, L), L from 1 to the item's length.
        """


class HasPaths(LatentGenerator):
    """A generator that follows a path from noise to latents, whose end can be learnt at once."""

    conditioner: Conditioner

    @abstractmethod
    def trace(self, request: Request) -> tuple[Tensor, Tensor, Tensor]:
        """Sample as `sample` does, items of one length, and return the way as well.

        Returns:
            The points (P, B, D, L) and times (P, B) at which the network was asked, the noisiest
            first, and the latents (B, D, L) that the way ends in.
        """

    @abstractmethod
    def draw_kept_frames(self, mask: Tensor) -> Tensor:
        """Draw which of the real frames `mask` (B, L) are given in training: (B, L)."""


class PredictsLatents(LatentGenerator):
    """A generator that has a density of continuous latents."""

    @abstractmethod
    def bits_per_dimension(self, batch: Batch, *, seeds: Sequence[int]) -> Tensor:
        """Bits per number (B,) that a batch's latents take, given their conditions.

        Args:
            batch: what lies behind the generator's window is cut off.
            seeds: one per item, for the parts that are estimated by chance.
        """


class PredictsTokens(LatentGenerator):
    """A generator that has a probability of tokens."""

    @abstractmethod
    def log_likelihood(self, batch: Batch, *, weights: WeightKind = "fp32") -> Tensor:
        """Sum log p of the real tokens of each item and codebook, in nats: (B, K), float64.

        Args:
            batch: of at most a window.
            weights: in what they are kept, to see what fewer bits cost.
        """
