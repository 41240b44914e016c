"""Coding in chunks, so that hours need little memory and give what they would give at once.

A chunk is coded with `context` frames of its neighbours on each side; a context of None is all of
them, so that the whole is one chunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from audiogen.codecs.frames import FrameStream
from audiogen.codecs.shapes import checked_wav
from audiogen.seeds import normal, numbers_of

if TYPE_CHECKING:  # a codec codes by these functions
    from audiogen.codecs.base import Codec

FRAMES_AT_ONCE = 16
"""Of noise that are drawn at once."""
ALL_FRAMES = 1 << 40
"""More than any sound has."""


@torch.no_grad()
def encoded(codec: Codec, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield latents (B, D, n) of a waveform that comes in blocks (B, C, T) of any length."""
    hop, chunk, context = codec.spec.hop_length, codec.chunk_frames, codec.encode_context
    if context is None:
        chunk, context = ALL_FRAMES, 0
    frames, start = FrameStream((checked_wav(block, codec.spec) for block in blocks), hop), 0
    while True:
        left = max(0, start - context)
        wav = frames.window(left, start + chunk + context)
        stop = min(start + chunk, left + wav.shape[-1] // hop)
        if stop == start:
            return
        yield codec.encode_chunk(wav)[..., start - left : stop - left]
        start = stop


@torch.no_grad()
def decoded(codec: Codec, latents: Tensor, seeds: Sequence[int], *, ring: bool) -> Iterator[Tensor]:
    """Yield wav (B, C, n * hop_length) of latents (B, D, L) or tokens, chunk by chunk.

    Each item's noise is that of its seed; in a ring the first frame follows the last.
    """
    hop, num_frames = codec.spec.hop_length, latents.shape[2]
    noise = FrameStream(white_frames(seeds, (codec.spec.audio_channels, hop)), hop)
    chunk, context = codec.chunk_frames, codec.decode_context
    if context is None:
        chunk = context = num_frames
    for start in range(0, num_frames, chunk):
        stop = min(start + chunk, num_frames)
        left, right = start - context, stop + context
        if ring:  # whatever a frame sees of its neighbours, it sees around the join
            around = torch.arange(left, right) % num_frames
            turn = noise.window(0, num_frames)
            turn = turn.reshape(*turn.shape[:2], num_frames, hop)
            grain, part = turn[:, :, around].flatten(2), latents[..., around.to(latents.device)]
        else:
            left, right = max(0, left), min(num_frames, right)
            grain, part = noise.window(left, right), latents[..., left:right]
        if not part.is_floating_point():
            part = part.long()
        wav = codec.decode_chunk(part, grain.to(latents.device))
        yield wav[..., (start - left) * hop : (stop - left) * hop]


def white_frames(seeds: Sequence[int], shape: tuple[int, int]) -> Iterator[Tensor]:
    """Yield white noise of unit variance without end, frame after frame.

    Frames are drawn in order, so that frame f of item b depends on f and seed b alone, whatever is
    decoded with it, before it, or behind it; a few at once, which is faster.

    Args:
        seeds: one per item.
        shape: (C, hop_length).
    """
    sources = [numbers_of("grain", seed) for seed in seeds]
    while True:
        drawn = [normal(source, FRAMES_AT_ONCE, *shape) for source in sources]
        yield from torch.stack(drawn, dim=1)
