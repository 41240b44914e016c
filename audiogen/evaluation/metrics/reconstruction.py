"""How near a codec's reconstructions are, and what its tokens cost and use."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.audio.measure.texture_features import log_mel, mono
from audiogen.audio.spectral import fft_length, stft
from audiogen.codecs import Codec
from audiogen.data.loading.latents import encode_rows
from audiogen.data.manifest import read_split
from audiogen.evaluation.material import Sounds, Speed, reconstructions
from audiogen.evaluation.scores import Codebook, CodecScores, Reconstruction
from audiogen.experiment import ExperimentConfig


def codec_scores(
    config: ExperimentConfig, codec: Codec, real: Sounds, decoded: Sounds, speed: Speed
) -> CodecScores:
    """Distances of the reconstructions, beside those that a vocoder has without training.

    For tokens, also what they cost, how many entries of each codebook the training clips use, and
    the distances with fewer codebooks.
    """
    spec, untrained = codec.spec, codec.untrained()
    other = None
    if untrained is not None:
        other = _mean_of(real, reconstructions(config, untrained, real)[0], spec.sample_rate)
    is_tokens = spec.kind == "tokens"
    return CodecScores(
        **_mean_of(real, decoded, spec.sample_rate).model_dump(),
        num_clips=len(real.wavs),
        parameters=sum(part.numel() for part in codec.parameters()),
        encode_times_realtime=speed.encode_times_realtime,
        decode_times_realtime=speed.decode_times_realtime,
        griffin_lim=other,
        bits_per_second=spec.bits_per_second() if is_tokens else None,
        vocab_size=spec.vocab_size,
        codebooks=_codebooks(config, codec, real) if is_tokens else (),
    )


def _codebooks(config: ExperimentConfig, codec: Codec, real: Sounds) -> tuple[Codebook, ...]:
    """What each number of codebooks gives, from one to all."""
    spec, batch = codec.spec, config.evaluate.batch_size
    length = spec.num_samples(config.evaluate.seconds)
    guesses: list[list[Tensor]] = [[] for _ in range(spec.channels)]
    for start in range(0, len(real.wavs), batch):
        tokens = codec.encode(torch.stack(list(real.wavs[start : start + batch])).to(codec.device))
        for number, made in enumerate(guesses, 1):
            part = tokens[:, :number]
            made += list(codec.decode(part, seeds=range(len(part)))[..., :length].cpu())
    return tuple(
        Codebook(
            **_mean_of(real, replace(real, wavs=made), spec.sample_rate).model_dump(),
            count=number,
            used=used,
            perplexity=perplexity,
        )
        for number, (made, (used, perplexity)) in enumerate(
            zip(guesses, _usage(config, codec), strict=True), 1
        )
    )


def _usage(config: ExperimentConfig, codec: Codec) -> list[tuple[float, float]]:
    """For each codebook the share of entries that training clips use, and their perplexity."""
    vocab_size = codec.spec.vocab_size or 1
    counts = torch.zeros(codec.spec.channels, vocab_size, dtype=torch.float64)
    rows = read_split(config.run.manifest, "train")
    for item in encode_rows(config.sounds, rows, codec, min_frames=1):
        found = [torch.bincount(tokens, minlength=vocab_size) for tokens in item.latents]
        counts += torch.stack(found)
    shares = counts / counts.sum(dim=1, keepdim=True)
    entropies = -(shares * shares.clamp_min(1e-30).log()).sum(dim=1)
    used = (counts > 0).double().mean(dim=1)
    return list(zip(used.tolist(), entropies.exp().tolist(), strict=True))


def _mean_of(real: Sounds, decoded: Sounds, rate: int) -> Reconstruction:
    """Means of the reconstruction metrics over clips."""
    found = [
        reconstruction_metrics(clip, guess, rate)
        for clip, guess in zip(real.wavs, decoded.wavs, strict=True)
    ]
    names = Reconstruction.model_fields
    return Reconstruction(**{name: fmean(getattr(one, name) for one in found) for name in names})


def reconstruction_metrics(reference: Tensor, estimate: Tensor, sample_rate: int) -> Reconstruction:
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
    return Reconstruction(
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
