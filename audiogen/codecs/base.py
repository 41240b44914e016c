"""What every codec is: waveform to latents or tokens and back, and numbers to build on."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.types import LatentSpec

NOISE_STREAM = 1 << 40


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

    spec: LatentSpec
    chunk_frames: int = 1024
    """Latent frames that are coded at once; longer audio is coded in chunks."""
    encode_context: int
    """Latent frames on each side that one encoded frame depends on."""
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

    @torch.no_grad()
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
        hop = self.spec.hop_length
        wav = F.pad(wav, (0, -wav.shape[2] % hop))
        context = self.encode_context
        pieces = []
        for start, stop, left, right in self._chunks(wav.shape[2] // hop, context):
            piece = self.encode_chunk(wav[..., left * hop : right * hop])
            pieces.append(piece[..., start - left : stop - left])
        return torch.cat(pieces, dim=-1)

    @torch.no_grad()
    def decode(
        self, latents: Tensor, *, seeds: Sequence[int] | None = None, ring: bool = False
    ) -> Tensor:
        """Decode latents or tokens, in chunks when they are long.

        Args:
            latents: (B, D, L) or (B, K, L).
            seeds: one seed per item for the random fine detail of codecs that have any; None is 0
                for each.
            ring: the last frame is followed by the first, so that the sound can be looped.

        Returns:
            wav (B, C, L * hop_length), not limited to [-1, 1].

        Raises:
            ValueError: the shape does not fit `spec`, or there is not one seed per item.
        """
        if latents.dim() != 3 or latents.shape[1] != self.spec.channels or latents.shape[2] == 0:
            raise ValueError(
                f"decode: expected latents (B, {self.spec.channels}, L > 0),"
                f" got shape {tuple(latents.shape)}"
            )
        seeds = [0] * latents.shape[0] if seeds is None else list(seeds)
        if len(seeds) != latents.shape[0]:
            raise ValueError(f"decode: {latents.shape[0]} items but {len(seeds)} seeds")
        hop = self.spec.hop_length
        num_frames = latents.shape[2]
        noise = self._noise(seeds, num_frames * hop).to(latents.device)
        margin = 0
        if ring:  # whatever a frame sees of its neighbours, it sees around the join
            margin = num_frames if self.decode_context is None else self.decode_context
            frames = torch.arange(-margin, num_frames + margin, device=latents.device) % num_frames
            latents = latents[..., frames]
            folded = noise.reshape(*noise.shape[:2], num_frames, hop)
            noise = folded[:, :, frames].flatten(2)
        pieces = []
        for start, stop, left, right in self._chunks(latents.shape[2], self.decode_context):
            piece = self.decode_chunk(
                latents[..., left:right], noise[..., left * hop : right * hop]
            )
            pieces.append(piece[..., (start - left) * hop : (stop - left) * hop])
        return torch.cat(pieces, dim=-1)[..., margin * hop : (margin + num_frames) * hop]

    def _noise(self, seeds: Sequence[int], length: int) -> Tensor:
        """White noise (B, C, length) of unit variance; item b depends on seed b alone."""
        shape = (self.spec.audio_channels, length)
        # Another stream than that of the latents, which a take draws from the same seed.
        streams = [torch.Generator().manual_seed(seed + NOISE_STREAM) for seed in seeds]
        return torch.stack([torch.randn(shape, generator=stream) for stream in streams])

    def _chunks(self, num_frames: int, context: int | None) -> list[tuple[int, int, int, int]]:
        """Frame ranges (start, stop) and the same with context (left, right)."""
        if context is None:
            return [(0, num_frames, 0, num_frames)]
        starts = range(0, num_frames, self.chunk_frames)
        spans = [(start, min(start + self.chunk_frames, num_frames)) for start in starts]
        return [
            (start, stop, max(0, start - context), min(num_frames, stop + context))
            for start, stop in spans
        ]
