"""The networks that codecs put their bottleneck into: Fourier frames, or strided convolutions.

A codec chooses its trunk and its bottleneck apart. Those of Fourier frames cost tens of times less
for equally many parameters; one learns magnitudes and phases, one filters pulses of a pitch that is
measured. The strided network is that of DAC and Oobleck.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from audiogen.audio.pitch import (
    HIGHEST_HZ,
    LOWEST_HZ,
    MIDDLE,
    context_frames,
    periodicity_at,
    track_pitch,
)
from audiogen.audio.spectral import fft_length
from audiogen.codecs.base import CodecOutput
from audiogen.codecs.config import CodecConfig
from audiogen.codecs.losses import is_wide
from audiogen.nn.chance import rand, randn
from audiogen.nn.convnet import ConvDecoder, ConvEncoder, contexts
from audiogen.nn.fourier import FourierDecoder, FourierEncoder, FourierFraming, WavePath
from audiogen.nn.harmonic import HarmonicDecoder, HarmonicEncoder
from audiogen.nn.pulses import cycles, pulses, running_phase
from audiogen.schema import Config, OneOf

PERIODICITY_WEIGHT = 1.0
"""Of the periodicity's error beside the spectral distances."""
QUIET_POWER = 1e-6
"""Power (-60 dBFS) of a recording under which its periodicity counts less."""
LATENT_SECONDS = 0.0464
"""Length of a latent frame where nothing else is said."""


class FramesConfig(Config):
    """STFT frames in, ConvNeXt blocks at the latent rate, inverse STFT out."""

    n_fft: int | None = Field(default=None, gt=0)
    """STFT window in samples, a multiple of `stft_hop`; None is the codec's hop length."""
    stft_hop: int | None = Field(default=None, gt=0)
    """Samples between STFT frames, of which the hop length is a multiple; None is a quarter of it.
    """
    num_bands: int = Field(default=128, gt=0)
    """Mel bands per STFT frame that the encoder sees."""
    encoder_dim: int = Field(default=256, gt=0)
    encoder_depth: int = Field(default=4, gt=0)
    decoder_dim: int = Field(default=384, gt=0)
    decoder_depth: int = Field(default=8, gt=0)

    frames_per_latent: ClassVar[int] = 4
    """STFT frames in a latent frame where nothing else is said."""

    def sizes(self, hop_length: int) -> tuple[int, int]:
        """Samples of an STFT window and between STFT frames, beside latent frames of `hop_length`.

        Raises:
            ValueError: a window or a latent frame does not hold whole STFT frames.
        """
        n_fft = self.n_fft or hop_length
        stft_hop = self.stft_hop or max(1, hop_length // self.frames_per_latent)
        for name, size in (("hop_length", hop_length), ("trunk.n_fft", n_fft)):
            if size % stft_hop:
                raise ValueError(f"{name}={size} must be a multiple of trunk.stft_hop={stft_hop}")
        return n_fft, stft_hop

    def check_hop(self, hop_length: int) -> None:
        """Raise ValueError unless latent frames of `hop_length` samples hold whole STFT frames."""
        self.sizes(hop_length)


class FourierTrunkConfig(FramesConfig):
    """Frames whose magnitudes and phases are learnt, and shaped noise."""

    type: Literal["fourier"] = "fourier"
    wave_bins: int = Field(default=0, ge=0)
    """Lowest MDCT coefficients per latent frame that go straight into the latents and out of them,
    so that the codec keeps the waveform there, where the bitrate allows it; 0 is magnitudes alone.
    They reach up to wave_bins / (2 * hop_length) of the sample rate; more than the codec has latent
    channels begin unheard."""

    def check_hop(self, hop_length: int) -> None:
        """Raise ValueError unless latent frames of `hop_length` samples hold whole STFT frames."""
        super().check_hop(hop_length)
        if self.wave_bins > hop_length or (self.wave_bins and hop_length % 2):
            raise ValueError(
                f"trunk.wave_bins={self.wave_bins} must be at most hop_length={hop_length}, and"
                " hop_length even"
            )


class HarmonicTrunkConfig(FramesConfig):
    """Frames of filtered pulses and noise; two more latent channels are measured, not learnt.

    They hold pitch and periodicity, so that pitch can be heard, moved and modelled. One source at
    a time has a pitch: chords and bells become noise of their envelope as before.
    """

    type: Literal["harmonic"] = "harmonic"
    stft_hop: int | None = Field(default=None, gt=0)
    """Samples between STFT frames, of which the hop length is a multiple; None is a half of it.
    What is shorter, gains of the waveform tell."""
    frames_per_latent: ClassVar[int] = 2


class ConvTrunkConfig(Config):
    """Strided waveform convolutions with Snake activations (DAC, Oobleck).

    They are trained at DAC's learning rate, `train.codec.optim.lr=1e-4`: at that of the recipes of
    the Fourier trunk, ten times as high, their features grow without bound.
    """

    type: Literal["convnet"] = "convnet"
    strides: tuple[Annotated[int, Field(ge=2)], ...] = Field(default=(4, 4, 8, 8), min_length=1)
    """Of the encoder, in order; their product is the codec's hop length."""
    encoder_dim: int = Field(default=64, gt=0)
    """Channels at the sample rate; each stride doubles them."""
    decoder_dim: int = Field(default=1536, gt=0)
    """Channels at the latent rate; each stride halves them."""

    @model_validator(mode="after")
    def _halves(self) -> ConvTrunkConfig:
        if self.decoder_dim % 2 ** len(self.strides):
            raise ValueError(
                f"decoder_dim={self.decoder_dim} must be a multiple of {2 ** len(self.strides)}:"
                f" it is halved {len(self.strides)} times"
            )
        return self

    def check_hop(self, hop_length: int) -> None:
        """Raise ValueError unless `hop_length` is the product of the strides."""
        if hop_length != math.prod(self.strides):
            raise ValueError(
                f"hop_length={hop_length} must be the product of trunk.strides, which is"
                f" {math.prod(self.strides)}"
            )


TrunkConfig = Annotated[
    FourierTrunkConfig | HarmonicTrunkConfig | ConvTrunkConfig,
    OneOf(lambda: [FourierTrunkConfig, HarmonicTrunkConfig, ConvTrunkConfig], default="fourier"),
]


class TrunkCodecConfig(CodecConfig):
    """A codec of a trunk and a bottleneck; its hop length is as the trunk allows.

    >>> TrunkCodecConfig(type="vae").hop_length
    1024
    >>> TrunkCodecConfig(type="vae", sample_rate=44100).hop_length
    2048
    """

    hop_length: int = Field(
        default_factory=lambda data: fft_length(LATENT_SECONDS, data["sample_rate"]), gt=0
    )
    """Samples per latent frame; where nothing is said, a power of two of about 46 ms."""
    trunk: TrunkConfig = FourierTrunkConfig()
    """The network around the bottleneck."""

    @model_validator(mode="after")
    def _frames_fit(self) -> Self:
        self.trunk.check_hop(self.hop_length)
        return self


class Trunk(nn.Module, ABC):
    """An encoder and a decoder without a bottleneck.

    Attributes:
        encode_context: latent frames on each side that one encoded frame depends on.
        decode_context: latent frames on each side that one decoded frame depends on.
        measured: channels that latents have beside those of the bottleneck: nothing is learnt for
            them, and they follow the others.
    """

    encode_context: int
    decode_context: int
    measured: int = 0

    def measure(self, wav: Tensor) -> Tensor:
        """What latents say beside what is learnt, (B, measured, L), of wav (B, C, T)."""
        return wav.new_empty(len(wav), 0, 1)

    def unrolled(self, latents: Tensor, *, ring: bool) -> Tensor:
        """Latents (B, D, L) as `decode` takes them, with what only the whole sound tells.

        In a ring the last frame is followed by the first.
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
            narrow = envelope.side.gain[~wide]
            losses["width"] = narrow.sum() / (envelope.side.gain[0].numel() * len(wav))
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
