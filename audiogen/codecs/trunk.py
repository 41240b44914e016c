"""The networks that codecs put their bottleneck into: Fourier frames, or strided convolutions.

A codec chooses its trunk and its bottleneck apart. Those of Fourier frames cost tens of times less
for equally many parameters; one learns magnitudes and phases, one filters pulses of a pitch that is
measured. The strided network is that of DAC and Oobleck.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from audiogen.audio.pitch import (
    HIGHEST_HZ,
    LOWEST_HZ,
    MIDDLE,
    context_frames,
    periodicity_at,
    track_pitch,
)
from audiogen.codecs.base import CodecOutput
from audiogen.codecs.losses import is_wide
from audiogen.codecs.trunk_config import (
    ConvTrunkConfig,
    FourierTrunkConfig,
    HarmonicTrunkConfig,
    TrunkCodecConfig,
)
from audiogen.nn.chance import rand, randn
from audiogen.nn.convnet import ConvDecoder, ConvEncoder, contexts
from audiogen.nn.fourier import FourierDecoder, FourierEncoder, FourierFraming, WavePath
from audiogen.nn.harmonic import MONO_GAIN, HarmonicDecoder, HarmonicEncoder
from audiogen.nn.pulses import cycles, pulses, running_phase

PERIODICITY_WEIGHT = 1.0
"""Of the periodicity's error beside the spectral distances."""
PITCH_STD = 3.0
"""Standard deviation of a pitch in latents: a tenth of one is a semitone, and is heard."""
WIDTH_WEIGHT = 0.1
"""Of how far, in nats, the side of a recording that has none is from where it is left out."""
QUIET_POWER = 1e-6
"""Power (-60 dBFS) of a recording under which its periodicity counts less."""


class Trunk(nn.Module, ABC):
    """An encoder and a decoder without a bottleneck.

    Attributes:
        encode_context: latent frames on each side that one encoded frame depends on.
        decode_context: latent frames on each side that one decoded frame depends on.
        measured: channels that latents have beside those of the bottleneck: nothing is learnt for
            them, and they follow the others.
        measured_std: standard deviation of each measured channel, where those that are learnt have
            one. A generator errs by about the same in all: what it must get right has a larger one.
        carried: channels that `unrolled` makes of those.
    """

    encode_context: int
    decode_context: int
    measured: int = 0
    measured_std: Sequence[float] = ()
    carried: int = 0

    def measure(self, wav: Tensor) -> Tensor:
        """What latents say beside what is learnt, (B, measured, L), of wav (B, C, T)."""
        return wav.new_empty(len(wav), 0, 1)

    def transposed(self, measured: Tensor, octaves: float) -> Tensor:
        """What `measure` gives (B, measured, L), of a sound at another pitch.

        Raises:
            ValueError: nothing is measured.
        """
        raise ValueError("this trunk measures no pitch that could be moved")

    def unrolled(self, latents: Tensor, *, ring: bool) -> Tensor:
        """Latents (B, D, L) as `decode` takes them, with what only the whole sound tells.

        Any number of learnt channels goes in front of the measured ones, also none, and stays as
        it is. In a ring the last frame is followed by the first.
        """
        del ring
        return latents

    @abstractmethod
    def encode(self, wav: Tensor) -> Tensor:
        """Map wav (B, C, L * hop_length) to features (B, encoder_channels, L)."""

    @abstractmethod
    def decode(self, latents: Tensor, noises: Sequence[Tensor]) -> list[Tensor]:
        """Map latents (B, decoder_channels, L) to wav (B, C, L * hop_length), unbounded.

        Args:
            latents: what the bottleneck gives and `measure`, through `unrolled`.
            noises: white, of unit variance, each in the shape of wav.

        Returns:
            A wav for each noise; a single one of a trunk in which nothing is random.
        """

    def decode_twice(self, latents: Tensor, wav: Tensor) -> CodecOutput:
        """Decode latents of wav with two noises, for the energy distance of `losses`."""
        noises = [randn(wav.shape, wav.device) for _ in range(2)]
        return CodecOutput(reconstructions=self.decode(latents, noises), losses={})


class FourierTrunk(Trunk):
    """ConvNeXt blocks between an STFT and its inverse; random fine detail."""

    def __init__(
        self,
        config: FourierTrunkConfig,
        framing: FourierFraming,
        encoder_channels: int,
        decoder_channels: int,
    ) -> None:
        super().__init__()
        self.encoder = FourierEncoder(
            framing,
            dim=config.encoder_dim,
            depth=config.encoder_depth,
            num_bands=config.num_bands,
            out_channels=encoder_channels,
        )
        self.decoder = FourierDecoder(
            framing,
            dim=config.decoder_dim,
            depth=config.decoder_depth,
            in_channels=decoder_channels,
        )
        self.wave = None
        if config.wave_bins:
            self.wave = WavePath(
                framing,
                num_bins=config.wave_bins,
                encoder_channels=encoder_channels,
                decoder_channels=decoder_channels,
                dim=config.decoder_dim,
            )
        self.encode_context = self.encoder.context_frames
        self.decode_context = self.decoder.context_frames

    def encode(self, wav: Tensor) -> Tensor:
        """Map wav (B, C, L * hop_length) to features (B, encoder_channels, L)."""
        features: Tensor = self.encoder(wav)
        return features if self.wave is None else features + self.wave.encode(wav)

    def decode(self, latents: Tensor, noises: Sequence[Tensor]) -> list[Tensor]:
        """Map latents to a wav for each noise, of which only the synthesis depends on it."""
        decoder = self.decoder
        hidden = decoder.hidden(latents)
        spectra = decoder.spectra(hidden)
        wavs = [decoder.synthesise(spectra, decoder.noise_spectrum(noise)) for noise in noises]
        if self.wave is None:
            return wavs
        wave = self.wave.decode(latents, hidden)
        return [wav + wave for wav in wavs]


class HarmonicTrunk(Trunk):
    """ConvNeXt blocks between an STFT and filtered pulses and noise."""

    measured = 2
    measured_std = (PITCH_STD, 1.0)
    carried = 3
    """Pitch, periodicity and phase."""

    def __init__(
        self,
        config: HarmonicTrunkConfig,
        framing: FourierFraming,
        encoder_channels: int,
        decoder_channels: int,
    ) -> None:
        super().__init__()
        self.framing = framing
        self.encoder = HarmonicEncoder(
            framing,
            dim=config.encoder_dim,
            depth=config.encoder_depth,
            num_bands=config.num_bands,
            out_channels=encoder_channels,
        )
        self.decoder = HarmonicDecoder(
            framing,
            dim=config.decoder_dim,
            depth=config.decoder_depth,
            in_channels=decoder_channels,
        )
        measured = context_frames(framing.sample_rate, framing.hop_length)
        self.encode_context = max(self.encoder.context_frames, measured)
        self.decode_context = self.decoder.context_frames

    def encode(self, wav: Tensor) -> Tensor:
        """Map wav (B, C, L * hop_length) to features (B, encoder_channels, L)."""
        features: Tensor = self.encoder(wav)
        return features

    @torch.no_grad()
    def measure(self, wav: Tensor) -> Tensor:
        """Pitch in octaves from `MIDDLE`, and periodicity: (B, 2, L), of the channels' mean."""
        framing = self.framing
        with torch.autocast(wav.device.type, enabled=False):
            mono = wav.float().mean(dim=1)
            pitch, height = track_pitch(mono, framing.sample_rate, framing.hop_length)
        return torch.stack([pitch - MIDDLE, height], dim=1)

    def transposed(self, measured: Tensor, octaves: float) -> Tensor:
        """Pitch and periodicity (B, 2, L) at another pitch."""
        pitch, periodicity = measured.unbind(1)
        return torch.stack([_bounded(pitch + octaves) - MIDDLE, periodicity], dim=1)

    def unrolled(self, latents: Tensor, *, ring: bool) -> Tensor:
        """Add the phase of the pulses, which goes on from chunk to chunk: (B, D + 1, L).

        In a ring the pitch is moved a little, by the same share everywhere, so that it closes after
        whole cycles.
        """
        rate, hop = self.framing.sample_rate, self.framing.hop_length
        pitch = _bounded(latents[:, -2])
        if ring:
            turns = cycles(pitch, rate, hop).sum(dim=1, keepdim=True)
            pitch = pitch + (turns.round().clamp_min(1) / turns).log2().float()
        start = torch.zeros(len(latents), device=latents.device)
        phase = running_phase(pitch, rate, hop, start)
        added = [pitch[:, None] - MIDDLE, latents[:, -1:].float(), phase[:, None]]
        return torch.cat([latents[:, :-2].float(), *added], dim=1)

    def decode(self, latents: Tensor, noises: Sequence[Tensor]) -> list[Tensor]:
        """Map latents (B, D + 3, L) to a wav for each noise; a phase is their last channel."""
        learnt, (pitch, periodicity, phase) = latents[:, :-3], latents[:, -3:].float().unbind(1)
        pitch = pitch + MIDDLE
        envelope = self.decoder.envelope(learnt, pitch, periodicity.clamp(0, 1))
        wide = torch.zeros(len(latents), dtype=torch.bool, device=latents.device)
        if envelope.side:
            wide = (envelope.side.gain > 0).flatten(1).any(dim=1)
        train = self._pulses(pitch, phase)
        return [self.decoder.synthesise(envelope, train, noise, wide) for noise in noises]

    def decode_twice(self, latents: Tensor, wav: Tensor) -> CodecOutput:
        """Decode latents (B, D + 2, L) with two noises, each with a phase of its own to begin.

        Where the recording has no side, none is made, and how loud it would be is a loss.
        """
        framing = self.framing
        learnt, pitch, periodicity = latents[:, :-2], _bounded(latents[:, -2]), latents[:, -1]
        envelope = self.decoder.envelope(learnt, pitch, periodicity.float().clamp(0, 1))
        wide = torch.zeros(len(wav), dtype=torch.bool, device=wav.device)
        losses = {}
        if envelope.side:
            wide = is_wide(wav)
            gain = envelope.side.gain
            # Of its logarithm: a gain that is small already has hardly a gradient of its own.
            excess = (gain[~wide] / MONO_GAIN).clamp_min(0.1).log().add(1).relu()
            losses["width"] = WIDTH_WEIGHT * excess.sum() / (gain[0].numel() * len(wav))
        wavs = []
        for _ in range(2):
            start = rand((len(latents),), latents.device)
            phase = running_phase(pitch, framing.sample_rate, framing.hop_length, start)
            noise = randn(wav.shape, wav.device)
            wavs.append(self.decoder.synthesise(envelope, self._pulses(pitch, phase), noise, wide))
        losses["periodicity"] = self._periodicity_loss(pitch, wav, wavs)
        return CodecOutput(reconstructions=wavs, losses=losses)

    def _periodicity_loss(self, pitch: Tensor, wav: Tensor, wavs: Sequence[Tensor]) -> Tensor:
        """How far periodicity is from that of wav, the mean over frames as loud as they are.

        Spectra alone are content with harmonics that are drowned in noise of their envelope.
        """
        rate, hop = self.framing.sample_rate, self.framing.hop_length
        with torch.autocast(wav.device.type, enabled=False):
            middle = wav.float().mean(dim=1)
            power = middle.reshape(len(middle), -1, hop).square().mean(dim=2)
            weight = power / (power.mean(dim=1, keepdim=True) + QUIET_POWER)
            wanted = periodicity_at(middle, pitch, rate, hop)
            found = [periodicity_at(one.float().mean(dim=1), pitch, rate, hop) for one in wavs]
            errors = torch.stack([(one - wanted).abs() for one in found])
            loss: Tensor = PERIODICITY_WEIGHT * (errors * weight).mean()
        return loss

    def _pulses(self, pitch: Tensor, phase: Tensor) -> Tensor:
        """A train of them (B, T)."""
        return pulses(pitch, phase, self.framing.sample_rate, self.framing.hop_length)


def _bounded(pitch: Tensor) -> Tensor:
    """Octaves above 1 Hz of a pitch from `MIDDLE`; a generator may go beyond what is measured."""
    return (pitch.float() + MIDDLE).clamp(math.log2(LOWEST_HZ), math.log2(HIGHEST_HZ))


class ConvTrunk(Trunk):
    """Strided convolutions; nothing in them is random."""

    def __init__(
        self,
        config: ConvTrunkConfig,
        audio_channels: int,
        encoder_channels: int,
        decoder_channels: int,
    ) -> None:
        super().__init__()
        strides = config.strides
        self.encoder = ConvEncoder(audio_channels, config.encoder_dim, strides, encoder_channels)
        self.decoder = ConvDecoder(audio_channels, config.decoder_dim, strides, decoder_channels)
        self.encode_context, self.decode_context = contexts(self, math.prod(strides))

    def encode(self, wav: Tensor) -> Tensor:
        """Map wav (B, C, L * hop_length) to features (B, encoder_channels, L)."""
        features: Tensor = self.encoder(wav)
        return features

    def decode(self, latents: Tensor, noises: Sequence[Tensor]) -> list[Tensor]:
        """Map latents to one wav, whatever the noises."""
        del noises
        return [self.decoder(latents).float()]


def build_trunk(config: TrunkCodecConfig, encoder_channels: int, decoder_channels: int) -> Trunk:
    """Make the trunk of a codec, with fresh weights; features and latents have these channels."""
    trunk = config.trunk
    if isinstance(trunk, ConvTrunkConfig):
        return ConvTrunk(trunk, config.audio_channels, encoder_channels, decoder_channels)
    n_fft, stft_hop = trunk.sizes(config.hop_length)
    framing = FourierFraming(
        sample_rate=config.sample_rate,
        audio_channels=config.audio_channels,
        n_fft=n_fft,
        stft_hop=stft_hop,
        hop_length=config.hop_length,
    )
    if isinstance(trunk, HarmonicTrunkConfig):
        return HarmonicTrunk(trunk, framing, encoder_channels, decoder_channels)
    return FourierTrunk(trunk, framing, encoder_channels, decoder_channels)
