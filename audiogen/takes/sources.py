"""Sounds to be edited: a file, the take that it is, and the file that comes of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from audiogen.audio.dsp import (
    below_full_scale,
    channel_change,
    resample,
    set_loudness,
    to_channels,
)
from audiogen.audio.io.files import read_audio
from audiogen.locking import new_file
from audiogen.pipeline import Pipeline
from audiogen.storage import make_folder, sha256_file
from audiogen.take_request import TakeRequest
from audiogen.takes.take import Edit, SourceFile, Take, take_of_sound, write_take
from audiogen.types import LatentSpec

_log = logging.getLogger(__name__)
STEM_CHARACTERS = 80


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file as the model can use it.

    Attributes:
        path: of the file, which is only read.
        sha256: of its bytes.
        wav: (C, T) at the model's rate and channels; the file's own samples where those fit.
        changes: what had to be converted, a line each.
        prompt: that its JSON file tells, or empty.
        request: None for a sound that the model at hand cannot make again.
    """

    path: Path
    sha256: str
    wav: Tensor
    changes: tuple[str, ...]
    prompt: str
    request: TakeRequest | None

    def levelled(self, sample_rate: int) -> tuple[Tensor, float]:
        """The sound at the loudness of training clips, and the gain that took it there."""
        levelled = set_loudness(self.wav, sample_rate)
        peak = float(self.wav.abs().max())
        return levelled, float(levelled.abs().max()) / peak if peak > 0 else 1.0


@dataclass(frozen=True, kw_only=True)
class EditRequest:
    """What all edits are asked for.

    Attributes:
        out: folder of the results.
        seed: of what is new.
        prompt: None takes that of the JSON file beside the sound, if there is any.
        steps: of the solver; None takes those of its JSON file, or the model's own.
        device: that the model runs on; see `devices.usable_device`.
    """

    out: Path
    seed: int = 0
    prompt: str | None = None
    steps: int | None = None
    device: str = "auto"


def read_source(path: Path, pipeline: Pipeline) -> Source:
    """Read a file for editing with `pipeline`; the log says what had to be converted.

    Raises:
        AudioReadError: the file is not audio, or damaged.
        ValueError: it is shorter than two latent frames.
    """
    spec = pipeline.codec.spec
    wav, sample_rate = read_audio(path)
    try:
        take = take_of_sound(path)
    except ValueError as error:  # any sound can be edited
        _log.warning("%s", error)
        take = None
    request = None if take is None else _request(take, wav, sample_rate, pipeline)
    wav, changes = _fitted(wav, sample_rate, spec)
    if wav.shape[1] < 2 * spec.hop_length:
        raise ValueError(
            f"{path}: {wav.shape[1] / spec.sample_rate:.3f} s is too short to be edited; this"
            f" model needs {2 / spec.frame_rate:.3f} s, two latent frames"
        )
    for change in changes:
        _log.info("%s: %s", path.name, change)
    return Source(
        path=path,
        sha256=sha256_file(path),
        wav=wav,
        changes=changes,
        prompt="" if take is None else take.prompt,
        request=request,
    )


def write_edit(
    pipeline: Pipeline,
    wav: Tensor,
    stem: str,
    *,
    request: TakeRequest,
    edit: Mapping[str, Any],
    sources: Sequence[Source],
    out: Path,
) -> Path:
    """Write one result as 24-bit WAV with a JSON file that records the edit; return its path.

    Args:
        pipeline: that made it.
        wav: (C, T) in [-1, 1].
        stem: of the file's name; a name that is taken gets a number.
        request: prompt, seed, sampling and controls of what is new.
        edit: the operation and its settings.
        sources: what it was made from.
        out: folder, made if missing.
    """
    files = [
        SourceFile(file=one.path.name, sha256=one.sha256, changes=one.changes) for one in sources
    ]
    seconds = wav.shape[1] / pipeline.codec.spec.sample_rate
    whole = request.model_copy(update={"seconds": seconds})
    take = Take.made_by(pipeline, whole, edit=Edit(sources=tuple(files), **edit))
    make_folder(out)
    with new_file(out, stem) as path:
        write_take(path, wav, take)
    return path


def _fitted(wav: Tensor, sample_rate: int, spec: LatentSpec) -> tuple[Tensor, tuple[str, ...]]:
    """The sound at the model's rate and channels below full scale, and what was changed."""
    changes = []
    if sample_rate != spec.sample_rate:
        changes.append(f"resampled {sample_rate} -> {spec.sample_rate} Hz")
        wav = resample(wav, sample_rate, spec.sample_rate)
    if wav.shape[0] != spec.audio_channels:
        changes.append(channel_change(wav.shape[0], spec.audio_channels))
        wav = to_channels(wav, spec.audio_channels)
    peak = float(wav.abs().max())
    if peak > 1:
        changes.append(f"peaks at {peak:.3f}, beyond full scale: lowered until it does not")
        wav = below_full_scale(wav)
    return wav, tuple(changes)


def _request(take: Take, wav: Tensor, sample_rate: int, pipeline: Pipeline) -> TakeRequest | None:
    """What the file was made of, if it is a take of this very model as it was written."""
    if not pipeline.digest or take.model_digest != pipeline.digest:
        return None
    if take.edit or take.layer or take.variation or take.to_end:
        return None  # not made by prompt, seed and length alone
    spec = pipeline.codec.spec
    shape = (spec.audio_channels, spec.num_samples(take.seconds))
    if (tuple(wav.shape), sample_rate) != (shape, spec.sample_rate):
        _log.info("not as long as its JSON file says: its sound is used, not its seed")
        return None
    return take.request
