"""The latents of a finished VAE in tokens: residual k-means, and nothing else to train."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from audiogen.codecs.base import CodecOutput
from audiogen.codecs.bottlenecks.pitch_tokens import PitchTokens, pitches_per_level
from audiogen.codecs.config import CodecConfig
from audiogen.codecs.tokens import TokenCodec
from audiogen.codecs.trunk_config import HarmonicTrunkConfig
from audiogen.codecs.vae import VAECodec, VAEConfig
from audiogen.schema import Config

LEAST_OPEN = 1e-3
"""Standard deviation, of what a VAE leaves open, that still makes a difference weigh more."""
ITERATIONS = 20
"""Of k-means."""


class CodebooksConfig(Config):
    """How many tokens a latent frame has."""

    num_codebooks: int = Field(default=4, ge=1)
    """Of what is learnt; a VAE that tells a pitch has one more for it."""
    vocab_size: int = Field(default=1024, ge=2)
    """V, entries per codebook."""


class QuantisedConfig(CodecConfig):
    """Tokens of the latents of a VAE."""

    type: Literal["quantised"] = "quantised"
    vae: VAEConfig
    """Whose latents they are."""
    codebooks: CodebooksConfig = CodebooksConfig()

    @model_validator(mode="after")
    def _is_that_of_the_vae(self) -> QuantisedConfig:
        for name in ("sample_rate", "audio_channels", "hop_length"):
            if getattr(self, name) != getattr(self.vae, name):
                raise ValueError(f"{name}: expected that of the vae, {getattr(self.vae, name)}")
        if isinstance(self.vae.trunk, HarmonicTrunkConfig):
            pitches_per_level(self.codebooks.vocab_size)  # says so where there are too few entries
        return self


class QuantisedCodec(TokenCodec):
    """Encodes to tokens of a VAE's posterior means, and decodes with its decoder.

    Each codebook has the centres of what the earlier ones leave over (residual vector
    quantisation). A difference counts by how exactly the VAE tells it: in units of the standard
    deviation that it leaves open, in which its decoder has learnt not to mind one.
    """

    config: QuantisedConfig
    trainable = False
    entries: Tensor
    """(K, V, D), in those units."""

    def __init__(self, config: QuantisedConfig) -> None:
        super().__init__()
        self.config, books = config, config.codebooks
        self.vae = VAECodec(config.vae).requires_grad_(requires_grad=False)
        self.trunk = self.vae.trunk
        self.pitch = PitchTokens(books.vocab_size) if self.vae.tells_pitch else None
        shape = books.num_codebooks, books.vocab_size, config.vae.latent_channels
        self.register_buffer("entries", torch.randn(shape))
        self.spec = config.spec(books.num_codebooks + (self.pitch is not None), books.vocab_size)
        self.encode_context, self.decode_context = (
            self.trunk.encode_context,
            self.trunk.decode_context,
        )

    @classmethod
    def of(cls, vae: VAECodec, codebooks: CodebooksConfig) -> QuantisedCodec:
        """Make one of a trained VAE, with entries that `fit` has still to find."""
        shape = {name: getattr(vae.config, name) for name in ("sample_rate", "audio_channels")}
        config = QuantisedConfig(
            **shape, hop_length=vae.config.hop_length, vae=vae.config, codebooks=codebooks
        )
        made = cls(config)
        made.vae.load_state_dict(vae.state_dict())
        return made.eval()

    @torch.no_grad()
    def fit(self, latents: Tensor, *, seed: int = 0) -> None:
        """Find the entries by k-means, codebook after codebook.

        Args:
            latents: what the VAE's `encode` gives for representative audio, frames joined (D, N).
            seed: of the first centres.
        """
        left = self._in_open_units(latents[None])[0].T.contiguous()
        for index in range(len(self.entries)):
            self.entries[index] = _centres(left, self.entries.shape[1], seed).to(left)
            left = left - F.embedding(self._nearest(index, left), self.entries[index])

    def residual_tokens(self, wav: Tensor) -> Tensor:
        """Tokens (B, K, L) of wav (B, C, L * hop_length), without those of a pitch."""
        left = self._in_open_units(self.vae.encode_chunk(wav)).transpose(1, 2)
        tokens = []
        for index, entries in enumerate(self.entries):
            tokens.append(self._nearest(index, left))
            left = left - F.embedding(tokens[-1], entries)
        return torch.stack(tokens, dim=1)

    def from_residual(self, tokens: Tensor) -> Tensor:
        """Latents (B, D, L), unscaled, of the first k of these tokens (B, k, L)."""
        parts = [F.embedding(row, self.entries[k]) for k, row in enumerate(tokens.unbind(dim=1))]
        scaled = torch.stack(parts).sum(dim=0).transpose(1, 2) * self._open_std
        learnt = self.config.vae.latent_channels
        return scaled * self.vae.latent_std[:learnt] + self.vae.latent_mean[:learnt]

    def forward(self, wav: Tensor) -> CodecOutput:
        """Decode the tokens of wav (B, C, T), twice where the trunk is random."""
        quantised = self.from_residual(self.residual_tokens(wav))
        return self.trunk.decode_twice(self.with_pitch(quantised, wav), wav)

    @property
    def _open_std(self) -> Tensor:
        """Of what is learnt (D, 1)."""
        return self.vae.open_std[: self.config.vae.latent_channels].clamp_min(LEAST_OPEN)

    def _in_open_units(self, latents: Tensor) -> Tensor:
        """What is learnt of latents (B, D, L)."""
        return latents[:, : self.config.vae.latent_channels].float() / self._open_std

    def _nearest(self, index: int, vectors: Tensor) -> Tensor:
        """Number (...) of the entry of codebook `index` that is nearest to vectors (..., D)."""
        entries = self.entries[index]
        return (entries.square().sum(dim=1) - 2 * vectors @ entries.T).argmin(dim=-1)


def _centres(vectors: Tensor, count: int, seed: int) -> Tensor:
    """Centres (count, D) of vectors (N, D); where there are fewer vectors, some are there twice."""
    from sklearn.cluster import KMeans  # noqa: PLC0415 (slow to import)
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415

    wanted = min(count, len(vectors))
    means = KMeans(wanted, init="random", n_init=1, max_iter=ITERATIONS, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of vectors that are alike
        found = torch.from_numpy(means.fit(vectors.cpu().numpy()).cluster_centers_)
    return found[torch.arange(count) % wanted]
