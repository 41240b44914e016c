"""What every codec is: waveform to latents or tokens and back, and numbers to build on."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from audiogen.codecs.chunks import decoded, encoded
from audiogen.codecs.config import CodecConfig
from audiogen.codecs.shapes import check_latents
from audiogen.types import Kind, LatentSpec


@dataclass(frozen=True, kw_only=True)
class CodecOutput:
    """What a codec's training pass returns.

    Attributes:
        reconstructions: one (B, C, T), to have a small distance to the recording; or two equally
            likely ones, of a codec that is to be random where the recording is.
        losses: scalars {name: ()} that the codec adds to the training loss, such as its KL term.
    """

    reconstructions: Sequence[Tensor]
    losses: Mapping[str, Tensor]


class Codec(nn.Module, ABC):
    """Waveform to latents and back; long audio is coded in chunks (see `chunks`).

    Subclasses give `spec`, `encode_chunk`, `decode_chunk`, the two contexts and `forward`.
    """

    kind: ClassVar[Kind] = "continuous"
    config: CodecConfig
    """From which it can be made again, and from nothing else but its weights."""
    spec: LatentSpec
    chunk_frames: int = 1024
    """Latent frames that are coded at once; longer audio is coded in chunks."""
    encode_context: int | None
    """Latent frames on each side that one encoded frame depends on; None is all of them."""
    decode_context: int | None
    """Latent frames on each side that one decoded frame depends on; None is all of them."""
    trainable: bool = True
    """Whether there is anything to train; a codec without it only has its scale set."""

    @property
    def open_std(self) -> Tensor | None:
        """Standard deviation (D, 1) of what the encoder leaves open; None where it leaves none."""
        return None

    @abstractmethod
    def encode_chunk(self, wav: Tensor) -> Tensor:
        """Encode wav (B, C, L * hop_length) as (B, D, L) latents or (B, K, L) tokens."""

    @abstractmethod
    def decode_chunk(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Decode latents to wav (B, C, L * hop_length); `noise` (B, C, L * hop_length) is white.

        Latents, or tokens, are frames of what `unrolled` gives.
        """

    @property
    def wanted_std(self) -> Tensor:
        """Standard deviation (D, 1) that `set_scale` gives the latents of `encode`."""
        return torch.ones(self.spec.channels, 1, device=self.device)

    @property
    def tells_pitch(self) -> bool:
        """Whether latents or tokens say a pitch, which `transposed` can move."""
        return False

    def transposed(self, latents: Tensor, octaves: float) -> Tensor:
        """Latents or tokens (B, D, L) of the same sound at another pitch.

        Its colour over frequency, its noise and its time stay: formants do not move. A pitch that
        would leave the range of the codec ends there.

        Raises:
            ValueError: this codec tells no pitch.
        """
        raise ValueError("this codec tells no pitch that could be moved")

    def unrolled(self, latents: Tensor, *, ring: bool) -> Tensor:
        """Latents or tokens as chunks of them are decoded, with what only the whole sound tells.

        In a ring the last frame is followed by the first.
        """
        del ring
        return latents

    @abstractmethod
    def forward(self, wav: Tensor) -> CodecOutput:
        """Training pass over wav (B, C, T), T a multiple of `hop_length`."""

    def untrained(self) -> Codec | None:
        """Return a codec of the same latents that needs no training, to compare with; or None."""
        return None

    def set_scale(self, latents: Tensor) -> None:
        """Make `encode` return zero mean and `wanted_std` per channel on data like `latents`.

        Called once, after training, with what `encode` gives now for representative audio, frames
        joined: (D, L). Tokens have no scale: their codecs leave this as it is.
        """
        del latents

    @property
    def device(self) -> torch.device:
        """Where the weights and constants are."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    def encode(self, wav: Tensor) -> Tensor:
        """Encode a waveform.

        Args:
            wav: (B, C, T) in [-1, 1] at `spec.sample_rate`; filled up with silence to whole frames.

        Returns:
            Latents (B, D, L) of about unit variance, or tokens (B, K, L) int64, where
            L = ceil(T / hop_length).

        Raises:
            ValueError: the shape does not fit `spec`.
        """
        return torch.cat(list(self.encode_pieces([wav])), dim=-1)

    def encode_pieces(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Encode blocks (B, C, T) of one waveform, T of any length, holding no more than a chunk.

        Yields:
            Latents (B, D, n) or tokens (B, K, n); joined, they are what `encode` returns.

        Raises:
            ValueError: the shape of a block does not fit `spec`, or there is no sample at all.
        """
        return encoded(self, blocks)

    def decode(
        self, latents: Tensor, *, seeds: Sequence[int] | None = None, ring: bool = False
    ) -> Tensor:
        """Decode latents or tokens.

        Args:
            latents: (B, D, L); or tokens (B, k, L), the first k of K codebooks, 1 <= k <= K.
            seeds: one seed per item for the random fine detail of codecs that have any; None is 0
                for each.
            ring: the last frame is followed by the first, so that the sound can be looped.

        Returns:
            wav (B, C, L * hop_length), not limited to [-1, 1].

        Raises:
            ValueError: the shape does not fit `spec`, tokens are outside of the vocabulary, or
                there is not one seed per item.
        """
        return torch.cat(list(self.decode_pieces(latents, seeds=seeds, ring=ring)), dim=-1)

    def decode_pieces(
        self, latents: Tensor, *, seeds: Sequence[int] | None = None, ring: bool = False
    ) -> Iterator[Tensor]:
        """Decode as `decode` does, one chunk (B, C, n * hop_length) after the other."""
        seeds = [0] * len(latents) if seeds is None else list(seeds)
        if len(seeds) != len(latents):
            raise ValueError(f"decode: {len(latents)} items but {len(seeds)} seeds")
        check_latents(latents, self.spec)
        return decoded(self, self.unrolled(latents, ring=ring), seeds, ring=ring)
