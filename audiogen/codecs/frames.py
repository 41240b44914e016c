"""Windows of frames over a signal that comes in blocks, of which no more is held than a window."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


class FrameStream:
    """Frames of a signal (B, C, T) by number, from blocks of any length.

    Frame f is the samples f * hop_length to (f + 1) * hop_length; the last one is filled up with
    zeros. Windows may overlap, and only go forward.
    """

    def __init__(self, blocks: Iterator[Tensor], hop_length: int) -> None:
        self._blocks = blocks
        self._hop_length = hop_length
        self._held: list[Tensor] = []
        self._first = 0  # the frame that what is held begins with

    def window(self, start: int, stop: int) -> Tensor:
        """Return the samples (B, C, n * hop_length) of frames `start` to `stop`, `stop` left out.

        A window begins where the one before began, or behind that up to where it ended. They are
        fewer where the signal ends before, and the blocks' own memory where they can be.

        Raises:
            ValueError: the signal has no sample at all.
        """
        hop = self._hop_length
        held = [block[..., (start - self._first) * hop :] for block in self._held]
        missing = (stop - start) * hop - sum(block.shape[-1] for block in held)
        while missing > 0:
            block = next(self._blocks, None)
            if block is None:
                break
            if block.shape[-1] > 0:
                held.append(block)
                missing -= block.shape[-1]
        if not held:
            raise ValueError("expected wav of at least one sample, got none")
        joined = held[0] if len(held) == 1 else torch.cat(held, dim=-1)
        if missing > 0:  # the end
            joined = F.pad(joined, (0, -joined.shape[-1] % hop))
        self._held, self._first = [joined], start
        return joined[..., : (stop - start) * hop]
