"""How near a codec's reconstructions are, and what its tokens cost and use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.audio.measure.texture import fft_length, log_mel, mono
from audiogen.audio.spectral import stft
from audiogen.codecs import Codec
from audiogen.data.loading.latents import encode_files
from audiogen.data.manifest import read_split
from audiogen.evaluation.material import Sounds, Speed, reconstructions
from audiogen.experiment import ExperimentConfig


def codec_metrics(
    config: ExperimentConfig, codec: Codec, real: Sounds, decoded: Sounds, speed: Speed
) -> dict[str, Any]:
    """Distances of the reconstructions, beside those that a vocoder has without training.

    For tokens, also what they cost, how many entries of each codebook the training clips use, and
    the distances with fewer codebooks.
    """
    rate = codec.spec.sample_rate
    found: dict[str, Any] = {
        **_distances(real, decoded, rate),
        "num_clips": len(real.wavs),
        "encode_times_realtime": speed.encode_times_realtime,
        "decode_times_realtime": speed.decode_times_realtime,
        "parameters": sum(part.numel() for part in codec.parameters()),
    }
    untrained = codec.untrained()
    if untrained is not None:
        other, _ = reconstructions(config, untrained, real)
        found["griffin_lim"] = _distances(real, other, rate)
    if codec.spec.kind == "tokens":
        found |= _token_metrics(config, codec, real)
    return found


def codec_summary(found: Mapping[str, Any]) -> list[str]:
    """Say how near the codec's output is, beside Griffin-Lim's, and what its tokens are like."""
    parts = []
    for name, key in (("STFT distance", "stft_distance"), ("mel distance (dB)", "mel_distance")):
        other = found.get("griffin_lim", {}).get(key)
        beside = f" (Griffin-Lim {other:.3f})" if other is not None else ""
        parts.append(f"{name} {found[key]:.3f}{beside}")
    speed = f"encoding {found['encode_times_realtime']:.0f}x"
    speed += f", decoding {found['decode_times_realtime']:.0f}x"
    lines = [f"codec on {found['num_clips']} held-out clips: {', '.join(parts)}, {speed}"]
    if "codebooks" not in found:
        return lines
    lines.append(f"bitrate {found['bits_per_second'] / 1000:.2f} kbit/s")
    lines.append("codebooks  STFT distance  mel distance (dB)  SI-SDR (dB)  used  perplexity")
    for row in found["codebooks"]:
        lines.append(
            f"{row['count']:9d}  {row['stft_distance']:13.3f}  {row['mel_distance']:17.2f}"
            f"  {row['si_sdr_db']:11.1f}  {row['used']:4.0%}  {row['perplexity']:10.0f}"
        )
    return lines


def _token_metrics(config: ExperimentConfig, codec: Codec, real: Sounds) -> dict[str, Any]:
    """Bitrate, and a row for each number of codebooks from one to all."""
    spec = codec.spec
    vocab_size = spec.vocab_size or 1
    rows = [
        {"count": number + 1, "used": used, "perplexity": perplexity}
        for number, (used, perplexity) in enumerate(_usage(config, codec, vocab_size))
    ]
    batch, length = config.evaluate.batch_size, spec.num_samples(config.evaluate.seconds)
    guesses: list[list[Tensor]] = [[] for _ in rows]
    for start in range(0, len(real.wavs), batch):
        tokens = codec.encode(torch.stack(list(real.wavs[start : start + batch])).to(codec.device))
        for row, made in zip(rows, guesses, strict=True):
            part = tokens[:, : row["count"]]
            made += list(codec.decode(part, seeds=range(len(part)))[..., :length].cpu())
    for row, made in zip(rows, guesses, strict=True):
        row.update(_distances(real, replace(real, wavs=made), spec.sample_rate))
    return {"bits_per_second": spec.bits_per_second(), "vocab_size": vocab_size, "codebooks": rows}


def _usage(config: ExperimentConfig, codec: Codec, vocab_size: int) -> list[tuple[float, float]]:
    """For each codebook the share of entries that training clips use, and their perplexity."""
    counts = torch.zeros(codec.spec.channels, vocab_size, dtype=torch.float64)
    for item in encode_files(
        config.sounds, read_split(config.run.manifest, "train"), codec, min_frames=1
    ):
        found = [torch.bincount(tokens, minlength=vocab_size) for tokens in item.latents]
        counts += torch.stack(found)
    shares = counts / counts.sum(dim=1, keepdim=True)
    entropies = -(shares * shares.clamp_min(1e-30).log()).sum(dim=1)
    used = (counts > 0).double().mean(dim=1)
    return list(zip(used.tolist(), entropies.exp().tolist(), strict=True))


def _distances(real: Sounds, decoded: Sounds, rate: int) -> dict[str, float]:
    """Means of the reconstruction metrics over clips."""
    found = [
        reconstruction_metrics(clip, guess, rate)
        for clip, guess in zip(real.wavs, decoded.wavs, strict=True)
    ]
    return {
        "stft_distance": float(np.mean([item.stft_distance for item in found])),
        "mel_distance": float(np.mean([item.mel_distance for item in found])),
        "si_sdr_db": float(np.mean([item.si_sdr_db for item in found])),
    }


@dataclass(frozen=True, kw_only=True)
class ReconstructionMetrics:
    """How near a codec's output is to its input.

    Attributes:
        stft_distance: multi-resolution STFT distance, mean absolute difference of the log
            magnitudes (nats) plus spectral convergence, averaged over the resolutions
            (Yamamoto et al. 2020, eq. 4 to 6). 0 is equal.
        mel_distance: mean absolute difference of the 80-band log-mel spectrograms, in dB.
        si_sdr_db: scale-invariant signal-to-distortion ratio (Le Roux et al. 2019, eq. 5), dB.
            It asks for the same waveform, phases included: noisy textures score low.
    """

    stft_distance: float
    mel_distance: float
    si_sdr_db: float


def reconstruction_metrics(
    reference: Tensor, estimate: Tensor, sample_rate: int
) -> ReconstructionMetrics:
    """Compare two waveforms (C, T) of the same shape. Finite for silence; -80 dB is its floor."""
    if reference.shape != estimate.shape or reference.ndim != 2:
        raise ValueError(
            "reconstruction_metrics: expected two waveforms (C, T) of one shape, got"
            f" {tuple(reference.shape)} and {tuple(estimate.shape)}"
        )
    mono(reference, sample_rate)
    mono(estimate, sample_rate)
    reference, estimate = reference.detach().float().cpu(), estimate.detach().float().cpu()
    n_fft = fft_length(0.046, sample_rate)
    first, second = (
        log_mel(wav.numpy(), sample_rate, num_bands=80, n_fft=n_fft, hop=n_fft // 4)
        for wav in (reference, estimate)
    )
    distances = [
        _stft_distance(reference, estimate, fft_length(seconds, sample_rate))
        for seconds in (0.0232, 0.0464, 0.0928)
    ]
    return ReconstructionMetrics(
        stft_distance=sum(distances) / len(distances),
        mel_distance=float((first - second).abs().mean()),
        si_sdr_db=_si_sdr_db(reference, estimate),
    )


def _stft_distance(reference: Tensor, estimate: Tensor, n_fft: int) -> float:
    floor, hop = 1e-4, n_fft // 4
    padding = (0, -reference.shape[-1] % hop)
    first = stft(F.pad(reference, padding), n_fft, hop).abs()
    second = stft(F.pad(estimate, padding), n_fft, hop).abs()
    logs = (first.clamp_min(floor).log() - second.clamp_min(floor).log()).abs().mean()
    energy = first.norm().clamp_min(floor * math.sqrt(first.numel()))
    return float(logs + (first - second).norm() / energy)


def _si_sdr_db(reference: Tensor, estimate: Tensor) -> float:
    """Scale-invariant SDR over all channels; the 1e-10 keeps silence finite."""
    reference = (reference - reference.mean(dim=-1, keepdim=True)).double()
    estimate = (estimate - estimate.mean(dim=-1, keepdim=True)).double()
    scale = (reference * estimate).sum() / reference.square().sum().clamp_min(1e-10)
    target = scale * reference
    ratio = (target.square().mean() + 1e-10) / ((estimate - target).square().mean() + 1e-10)
    return float(10 * torch.log10(ratio))
