"""What codecs of tokens on a trunk share: the codebook of its pitch, and the decoding."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from audiogen.codecs.base import Codec
from audiogen.codecs.bottlenecks.pitch_tokens import PitchTokens
from audiogen.codecs.trunk import Trunk
from audiogen.types import Kind


class TokenCodec(Codec):
    """Encodes to tokens (B, K, L); the first k codebooks alone decode to a coarser sound.

    Where the trunk measures a pitch, the second codebook is that of pitch and periodicity: the
    first residual one alone is a whisper of the sound, and a pitch alone would be no sound at all.
    """

    kind: ClassVar[Kind] = "tokens"
    trunk: Trunk
    pitch: PitchTokens | None

    @abstractmethod
    def residual_tokens(self, wav: Tensor) -> Tensor:
        """Tokens (B, K, L) of wav (B, C, L * hop_length), without those of a pitch."""

    @abstractmethod
    def from_residual(self, tokens: Tensor) -> Tensor:
        """What the trunk's decoder is given (B, D, L), of the first k of these tokens (B, k, L)."""

    def encode_chunk(self, wav: Tensor) -> Tensor:
        """Encode wav (B, C, L * hop_length) as tokens (B, K, L)."""
        tokens = self.residual_tokens(wav)
        if self.pitch is None:
            return tokens
        told = self.pitch.tokens(self.trunk.measure(wav))
        return torch.cat([tokens[:, :1], told, tokens[:, 1:]], dim=1)

    @property
    def tells_pitch(self) -> bool:
        """Whether there is a codebook of pitches."""
        return self.pitch is not None

    def transposed(self, latents: Tensor, octaves: float) -> Tensor:
        """Tokens (B, K, L) of the same sound at another pitch; see `Codec.transposed`."""
        if self.pitch is None:
            return super().transposed(latents, octaves)
        if latents.shape[1] < 2:  # the first codebook alone says none
            return latents
        moved = self.trunk.transposed(self.pitch.measured(latents[:, 1:2]), octaves)
        return torch.cat([latents[:, :1], self.pitch.tokens(moved), latents[:, 2:]], dim=1)

    def unrolled(self, latents: Tensor, *, ring: bool) -> Tensor:
        """Residual tokens (B, k, L), and behind them what the trunk makes of a pitch.

        They are one tensor of float64, which holds tokens exactly: of a long sound they take a
        fraction of the memory of latents, which are made chunk by chunk.
        """
        if self.pitch is None:
            return latents
        if latents.shape[1] > 1:
            measured = self.pitch.measured(latents[:, 1:2])
        else:  # the first codebook alone: no pitch, and nothing periodic
            measured = torch.zeros(len(latents), 2, latents.shape[2], device=latents.device)
        carried = self.trunk.unrolled(measured, ring=ring)
        parts = (latents[:, :1], latents[:, 2:], carried)
        return torch.cat([part.double() for part in parts], dim=1)

    def decode_chunk(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Decode what `unrolled` gives to wav (B, C, L * hop_length)."""
        count = latents.shape[1] - (0 if self.pitch is None else self.trunk.carried)
        quantised = self.from_residual(latents[:, :count].long())
        told = torch.cat([quantised, latents[:, count:].float()], dim=1)
        return self.trunk.decode(told, [noise])[0]

    def with_pitch(self, quantised: Tensor, wav: Tensor) -> Tensor:
        """Put behind what a bottleneck gives (B, D, L) what the tokens of the pitch of wav say."""
        if self.pitch is None:
            return quantised
        told = self.pitch.measured(self.pitch.tokens(self.trunk.measure(wav)))
        return torch.cat([quantised, told], dim=1)
