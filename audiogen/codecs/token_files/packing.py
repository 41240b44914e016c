"""Tokens as bits: ceil(log2 V) per token and no more.

The most significant bit comes first, frame by frame, and codebook by codebook within a frame; the
last byte is filled up with zeros.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLOCK_FRAMES = 1 << 13  # worked on at once; a multiple of 8, so that blocks are whole bytes


def bits_per_token(vocab_size: int) -> int:
    """Bits that tell `vocab_size` entries apart; at least one."""
    return max(1, (vocab_size - 1).bit_length())


def pack(tokens: Tensor, vocab_size: int) -> NDArray[np.uint8]:
    """Return the bits of tokens (k, L), integers of 0 to `vocab_size` - 1."""
    shifts = np.arange(bits_per_token(vocab_size), dtype=np.int64)[::-1]
    parts = []
    for start in range(0, tokens.shape[1], BLOCK_FRAMES):
        block = tokens[:, start : start + BLOCK_FRAMES]
        numbers = block.T.reshape(-1, 1).long().cpu().numpy()
        parts.append(np.packbits((numbers >> shifts & 1).astype(np.uint8)))
    return np.concatenate(parts)


def unpack(packed: NDArray[np.uint8], shape: tuple[int, int], vocab_size: int) -> Tensor:
    """Return the tokens (k, L) of the bits that `pack` made, as many bytes as `shape` (k, L) needs.

    Bits can say more than `vocab_size` entries, at most 2^31; what they say is returned, as int32.
    """
    bits = bits_per_token(vocab_size)
    weights = 1 << np.arange(bits, dtype=np.int64)[::-1]
    num_codebooks, num_frames = shape
    tokens = torch.empty(shape, dtype=torch.int32)
    for start in range(0, num_frames, BLOCK_FRAMES):
        count = min(BLOCK_FRAMES, num_frames - start)
        num_bits = count * num_codebooks * bits
        first = start * num_codebooks * bits // 8
        part = np.unpackbits(packed[first : first + -(-num_bits // 8)], count=num_bits)
        numbers = part.reshape(count, num_codebooks, bits) @ weights
        tokens[:, start : start + count] = torch.from_numpy(numbers.T)
    return tokens
