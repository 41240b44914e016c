"""What every codec is: waveform to latents or tokens and back, and numbers to build on."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from audiogen.codecs.frames import FrameStream
from audiogen.schema import Config
from audiogen.seeds import NOISE_STREAM
from audiogen.types import Kind, LatentSpec

ALL_FRAMES = 1 << 40
"""More than any sound has."""


class CodecConfig(Config):
    """What the configuration of every codec says."""

    type: str
    sample_rate: int = Field(default=22050, ge=8000, le=192000)
    """Hz."""
    audio_channels: Literal[1, 2] = 1
    """1 is mono, 2 is stereo."""
    hop_length: int = Field(default=1024, gt=0)
    """Samples per latent frame."""

    @property
    def origin(self) -> str:
        """Where weights come from that others have trained; empty for our own."""
        return ""

    @property
    def licence(self) -> str:
        """Licence of weights that others have trained; empty for our own."""
        return ""


@dataclass(frozen=True, kw_only=True)
class CodecOutput:
    """What a codec's training pass returns.

    Attributes:
        reconstruction: (B, C, T).
        alternative: a second, equally likely reconstruction (B, C, T) of a codec that is to be
            random where the recording is; None when plain distances to the recording are asked for.
        losses: scalars {name: ()} that the codec adds to the training loss, such as its KL term.
    """

    reconstruction: Tensor
    alternative: Tensor | None
    losses: Mapping[str, Tensor]


class Codec(nn.Module, ABC):
    """Waveform to latents and back.

    Subclasses give `spec`, `encode_chunk`, `decode_chunk`, the two contexts and `forward`. A chunk
    is coded alone with `context` frames of its neighbours on each side, so that long audio needs
    flat memory and equals the whole.
    """

    kind: ClassVar[Kind] = "continuous"
    spec: LatentSpec
    chunk_frames: int = 1024
    """Latent frames that are coded at once; longer audio is coded in chunks."""
    encode_context: int | None
    """Latent frames on each side that one encoded frame depends on; None is all of them, so that
    audio is encoded at once, however long it is."""
    decode_context: int | None
    """Latent frames on each side that one decoded frame depends on; None is all of them, so that
    latents are decoded at once, however long they are."""
    trainable: bool = True
    """Whether there is anything to train; a codec without it only has its scale set."""

    @abstractmethod
    def encode_chunk(self, wav: Tensor) -> Tensor:
        """Encode wav (B, C, L * hop_length) as (B, D, L) latents or (B, K, L) tokens."""

    @abstractmethod
    def decode_chunk(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Decode latents to wav (B, C, L * hop_length); `noise` (B, C, L * hop_length) is white."""

    @abstractmethod
    def forward(self, wav: Tensor) -> CodecOutput:
        """Training pass over wav (B, C, T), T a multiple of `hop_length`."""

    def untrained(self) -> Codec | None:
        """Return a codec of the same latents that needs no training, to compare with; or None."""
        return None

    def set_scale(self, latents: Tensor) -> None:
        """Make `encode` return zero mean and unit variance per channel on data like `latents`.

        Called once, after training. Tokens have no scale: their codecs leave this as it is.

        Args:
            latents: what `encode` gives now for representative audio, frames joined: (D, L).
        """
        del latents

    @property
    def device(self) -> torch.device:
        """Where the weights and constants are."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    def encode(self, wav: Tensor) -> Tensor:
        """Encode a waveform, in chunks when it is long.

        Args:
            wav: (B, C, T) in [-1, 1] at `spec.sample_rate`; filled up with silence to whole frames.

        Returns:
            Latents (B, D, L) of about unit variance, or tokens (B, K, L) int64, where
            L = ceil(T / hop_length).

        Raises:
            ValueError: the shape does not fit `spec`.
        """
        if wav.dim() != 3 or wav.shape[1] != self.spec.audio_channels or wav.shape[2] == 0:
            raise ValueError(
                f"encode: expected wav (B, {self.spec.audio_channels}, T > 0) at"
                f" {self.spec.sample_rate} Hz, got shape {tuple(wav.shape)}"
            )
        return torch.cat(list(self._encoded(iter([wav]))), dim=-1)

    def encode_pieces(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Encode one waveform that comes in blocks, holding no more of it than a chunk.

        Args:
            blocks: (C, T), T of any length; joined, they are what `encode` takes.

        Yields:
            Latents (D, n) or tokens (K, n), n whole frames; joined, they are what `encode` returns.

        Raises:
            ValueError: the shape of a block does not fit `spec`, or there is no sample at all.
        """
        for piece in self._encoded(self._checked(block)[None] for block in blocks):
            yield piece[0]

    def decode(
        self, latents: Tensor, *, seeds: Sequence[int] | None = None, ring: bool = False
    ) -> Tensor:
        """Decode latents or tokens, in chunks when they are long.

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
        """Decode as `decode` does, one chunk after the other, so that hours need little memory.

        Takes what `decode` takes, tokens of any integer type, and raises what it raises.

        Returns:
            An iterator of wav (B, C, n * hop_length); joined, they are what `decode` returns.
        """
        self._check_latents(latents)
        seeds = [0] * latents.shape[0] if seeds is None else list(seeds)
        if len(seeds) != latents.shape[0]:
            raise ValueError(f"decode: {latents.shape[0]} items but {len(seeds)} seeds")
        self._check_tokens(latents)
        return self._decoded(latents, seeds, ring)

    @torch.no_grad()
    def _encoded(self, blocks: Iterator[Tensor]) -> Iterator[Tensor]:
        """Latents (B, D, n) of a waveform that comes in blocks (B, C, T)."""
        hop, context = self.spec.hop_length, self.encode_context or 0
        chunk = ALL_FRAMES if self.encode_context is None else self.chunk_frames
        frames = FrameStream(blocks, hop)
        start = 0
        while True:
            left = max(0, start - context)
            wav = frames.window(left, start + chunk + context)
            stop = min(start + chunk, left + wav.shape[-1] // hop)
            if stop == start:
                return
            yield self.encode_chunk(wav)[..., start - left : stop - left]
            start = stop

    @torch.no_grad()
    def _decoded(self, latents: Tensor, seeds: Sequence[int], ring: bool) -> Iterator[Tensor]:
        """Wav (B, C, n * hop_length) of latents, chunk by chunk."""
        hop, num_frames, device = self.spec.hop_length, latents.shape[2], latents.device
        chunk, context = self.chunk_frames, self.decode_context
        if context is None:
            chunk = context = num_frames
        noise = FrameStream(self._noise(seeds), hop)
        for start in range(0, num_frames, chunk):
            stop = min(start + chunk, num_frames)
            left, right = start - context, stop + context
            if ring:  # whatever a frame sees of its neighbours, it sees around the join
                around = torch.arange(left, right) % num_frames
                turn = noise.window(0, num_frames)
                grain = turn.reshape(*turn.shape[:2], num_frames, hop)[:, :, around].flatten(2)
                part = latents[..., around.to(device)]
            else:
                left, right = max(0, left), min(num_frames, right)
                grain = noise.window(left, right)
                part = latents[..., left:right]
            if self.spec.kind == "tokens":
                part = part.long()
            piece = self.decode_chunk(part, grain.to(device))
            yield piece[..., (start - left) * hop : (stop - left) * hop]

    def _noise(self, seeds: Sequence[int]) -> Iterator[Tensor]:
        """White noise of unit variance without end; item b depends on seed b alone.

        Every frame is drawn by itself, so that frame f of an item is the same numbers whatever is
        decoded with it, before it, or behind it.

        Yields:
            One frame after the other, (B, C, hop_length).
        """
        shape = (self.spec.audio_channels, self.spec.hop_length)
        # Another stream than that of the latents, which a take draws from the same seed.
        sources = [torch.Generator().manual_seed(seed + NOISE_STREAM) for seed in seeds]
        while True:
            yield torch.stack([torch.randn(shape, generator=source) for source in sources])

    def _checked(self, block: Tensor) -> Tensor:
        """Return a block of a waveform; ValueError when it is not (C, T)."""
        if block.dim() != 2 or block.shape[0] != self.spec.audio_channels:
            raise ValueError(
                f"encode: expected blocks ({self.spec.audio_channels}, T) at"
                f" {self.spec.sample_rate} Hz, got shape {tuple(block.shape)}"
            )
        return block

    def _check_latents(self, latents: Tensor) -> None:
        """Raise ValueError when the shape does not fit `spec`."""
        wanted = self.spec.channels
        least = 1 if self.spec.kind == "tokens" else wanted
        if latents.dim() != 3 or not least <= latents.shape[1] <= wanted or latents.shape[2] == 0:
            channels = f"{wanted}" if least == wanted else f"1 to {wanted}"
            raise ValueError(
                f"decode: expected latents (B, {channels}, L > 0), got shape {tuple(latents.shape)}"
            )

    def _check_tokens(self, tokens: Tensor) -> None:
        """Raise ValueError when tokens are no entries of the vocabulary."""
        if self.spec.vocab_size is None:
            return
        if tokens.is_floating_point():
            raise ValueError(f"decode: expected tokens, which are integers, got {tokens.dtype}")
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= self.spec.vocab_size:
            raise ValueError(
                f"decode: expected tokens of 0 to {self.spec.vocab_size - 1}, this codec's"
                f" vocabulary, got {low} to {high}"
            )
