"""What waveforms and latents must be like to be coded."""

from __future__ import annotations

from torch import Tensor

from audiogen.types import LatentSpec


def checked_wav(wav: Tensor, spec: LatentSpec) -> Tensor:
    """Return wav; ValueError when it is not (B, C, T)."""
    if wav.dim() != 3 or wav.shape[1] != spec.audio_channels:
        raise ValueError(
            f"encode: expected wav (B, {spec.audio_channels}, T > 0) at {spec.sample_rate} Hz,"
            f" got shape {tuple(wav.shape)}"
        )
    return wav


def check_latents(latents: Tensor, spec: LatentSpec) -> None:
    """Raise ValueError when latents are not (B, D, L), or tokens not (B, k, L) of the vocabulary.

    They are tokens of the first k of K codebooks.
    """
    wanted = spec.channels
    least = wanted if spec.vocab_size is None else 1
    if latents.dim() != 3 or not least <= latents.shape[1] <= wanted or latents.shape[2] == 0:
        channels = f"{wanted}" if least == wanted else f"1 to {wanted}"
        raise ValueError(
            f"decode: expected latents (B, {channels}, L > 0), got shape {tuple(latents.shape)}"
        )
    if spec.vocab_size is None:
        return
    if latents.is_floating_point():
        raise ValueError(f"decode: expected tokens, which are integers, got {latents.dtype}")
    low, high = int(latents.min()), int(latents.max())
    if low < 0 or high >= spec.vocab_size:
        raise ValueError(
            f"decode: expected tokens of 0 to {spec.vocab_size - 1}, this codec's vocabulary,"
            f" got {low} to {high}"
        )
