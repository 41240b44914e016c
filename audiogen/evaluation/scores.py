"""What an evaluation measured, as `audiogen evaluate` writes it to evaluation/metrics.json."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pydantic import ConfigDict, Field

from audiogen.schema import Config, ConfigError, parse_config
from audiogen.storage import atomic_write_text, read_json

NOTHING_HELD_OUT = (
    "No recording is held out from training: there are no figures of held-out sounds, and no"
    " distance to them."
)


class Measured(Config):
    """Base of what is measured: numbers are finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class Key(Config):
    """What was evaluated, and how; the same again need not be measured again."""

    model_digest: str
    sample: dict[str, Any]
    evaluate: dict[str, Any]
    embedding: bool = False
    """Whether FAD and KAD could be had; once they can, it is measured again."""


class Reconstruction(Measured):
    """How near a codec's output is to its input."""

    stft_distance: float
    """Multi-resolution STFT distance: the mean absolute difference of the log magnitudes (nats)
    plus spectral convergence, averaged over the resolutions (Yamamoto et al. 2020, eq. 4 to 6).
    0 is equal."""
    mel_distance: float
    """Mean absolute difference of the 80-band log-mel spectrograms, in dB."""
    si_sdr_db: float
    """Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019, eq. 5), in dB. It asks for
    the same waveform, phases included: noisy textures score low."""


class Codebook(Reconstruction):
    """What the first codebooks give, up to one of them, and how that one is used."""

    count: int
    """Of the codebooks that sounds were decoded from."""
    used: float
    """Share of the entries of the last of them that occur in the training clips, 0 to 1."""
    perplexity: float
    """Exponential of the entropy of its entries."""


class CodecScores(Reconstruction):
    """Reconstructions of held-out clips; the speeds are times real time, on this machine."""

    num_clips: int
    parameters: int
    encode_times_realtime: float
    decode_times_realtime: float
    griffin_lim: Reconstruction | None = None
    """The same for sound that is made of a mel codec's bands without any training."""
    bits_per_second: float | None = None
    """Of tokens."""
    vocab_size: int | None = None
    codebooks: tuple[Codebook, ...] = ()


class Referenced(Measured):
    """A distance to held-out clips beside its references."""

    takes: float
    real: float
    """Of other real clips: the floor."""
    noise: float
    """Of noise: the ceiling."""
    copies: float | None = None
    """Of training clips through the codec: what learning by heart would score."""

    @property
    def way_to_noise(self) -> float | None:
        """Where the takes lie from the floor (0) to the ceiling (1); None where noise is lower."""
        if self.noise <= self.real:
            return None
        return (self.takes - self.real) / (self.noise - self.real)


class Distance(Measured):
    """A distance over all sounds, and for each label with enough of them."""

    all: Referenced
    per_label: dict[str, Referenced] = Field(default_factory=dict)

    @property
    def of_labels(self) -> Referenced | None:
        """Mean over the labels; None where none has enough clips.

        Over all sounds, what takes of one label lack another's may hide.
        """
        found = list(self.per_label.values())
        if not found:
            return None
        copies = [one.copies for one in found if one.copies is not None]
        return Referenced(
            takes=fmean(one.takes for one in found),
            real=fmean(one.real for one in found),
            noise=fmean(one.noise for one in found),
            copies=fmean(copies) if len(copies) == len(found) else None,
        )


class Diversity(Measured):
    """How much takes of one label differ, relative to real clips."""

    all: float | None = None
    """Mean over the labels; None where there are none with enough clips."""
    per_label: dict[str, float] = Field(default_factory=dict)


class NearestClip(Measured):
    """The training clip that is most like a take."""

    take: str
    clip: str
    distance: float


class Copies(Measured):
    """The copy check: a take nearer to a clip than the threshold is a near-copy."""

    threshold: float
    nearest: tuple[NearestClip, ...]
    planted: dict[str, float] = Field(default_factory=dict)
    """{what was done to training clips before they went through the codec: share found}."""
    held_out: float | None = None
    """Share of held-out clips, through the codec, that are called copies."""

    @property
    def near(self) -> list[NearestClip]:
        """The near-copies."""
        return [one for one in self.nearest if one.distance < self.threshold]


class TakeScores(Measured):
    """What compares takes, as a set, with recordings, and what a take costs."""

    frechet: Distance | None = None
    """None where too few clips are held out, or trained on, to compare with; so is `mmd`."""
    mmd: Distance | None = None
    fad: Distance | None = None
    """On the embedding of aiSFX; None without it, or with too few sounds; so is `kad`."""
    kad: Distance | None = None
    diversity: Diversity
    copies: Copies
    parameters: int
    """Of the generator."""
    network_evaluations: int
    batch_size: int
    seconds_per_take: float | None = None
    """None where no full batch had to be made."""


class Shares(Measured):
    """Shares of sounds that the judge hears as what they are, 0 to 1."""

    takes: float | None = None
    reconstructions: float | None = None
    real: float | None = None


class Recognised(Measured):
    """What the judge names takes, reconstructions and real held-out clips."""

    all: Shares
    chance: float
    per_label: dict[str, Shares]
    confusion: dict[str, dict[str, int]] = Field(default_factory=dict)
    """{prompted label: {named label: number of takes}}, without zeros."""


class Character(Measured):
    """What the ear misses first, as the mean over sounds of a kind."""

    periodicity: float
    """Share of the energy that repeats from period to period, 0 to 1."""
    waver: float | None = None
    """Semitones of a frame's pitch from the middle of its neighbours'; None without a pitch."""
    regularity: float
    """Highest autocorrelation of the onset strength at the lags of a rhythm, 0 to 1."""
    sharpness_db: float
    """Mean rise of the mel bands at onsets, within a hundredth of a second."""
    width_db: float | None = None
    """Energy of the side over that of the mid; None for mono."""
    high_band_db: float | None = None
    """Energy above 11 kHz over all; None at sample rates that have none."""


class Bits(Measured):
    """Bits that the clips of one split cost."""

    mean: float
    std: float
    """Between clips."""
    clips: int
    perplexity: tuple[float, ...] = ()
    """Of each codebook."""


class Likelihood(Measured):
    """How well clips are predicted, given their prompts."""

    per: Literal["latent dimension", "second of sound"]
    held_out: Bits | None = None
    """None where nothing is held out."""
    train: Bits
    structureless: float
    """Bits that independent normal latents, or uniform tokens, cost."""
    noise_level: float | None = None
    """Of the noise on latents."""
    held_out_with: dict[str, float] = Field(default_factory=dict)
    """Bits of held-out clips with the network's weights in another format."""


class Scores(Measured):
    """Everything that an evaluation measured."""

    key: Key
    machine: str
    codec: CodecScores | None = None
    """None where nothing is held out that it could reconstruct."""
    takes: TakeScores | None = None
    """None for a codec alone."""
    recognised: Recognised | None = None
    """None where nobody knows labels."""
    second: Recognised | None = None
    """What a second judge hears, trained on the held-out clips, which no model has seen: of takes,
    of training clips (`real`) and of those through the codec (`reconstructions`)."""
    character: dict[str, dict[str, Character]] = Field(default_factory=dict)
    """{label: {"real", "reconstructions" or "takes": the mean of its sounds}}."""
    likelihood: Likelihood | None = None
    """None for a generator without one, and where it cannot be had; `notes` tell."""
    notes: tuple[str, ...] = ()
    """What could not be measured, and why; a line each."""

    def write(self, path: Path) -> None:
        """Write it as JSON; what is None is left out."""
        tree = self.model_dump(mode="json", exclude_none=True)
        atomic_write_text(path, json.dumps(tree, indent=1, allow_nan=False))


def read_scores(path: Path) -> Scores:
    """Read what `Scores.write` wrote.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: it is not such a file.
    """
    tree = read_json(path)
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: does not hold a JSON object; delete it and evaluate again")
    try:
        return parse_config(Scores, tree, str(path))
    except ConfigError as error:
        first = str(error).splitlines()[:2]
        raise ValueError("\n".join([*first, "  delete it and evaluate again"])) from None
