"""A take: what was asked for, what was made, and where it comes from; and its JSON file."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import ConfigDict, Field, model_validator
from torch import Tensor

from audiogen.audio.io.decoding import opened
from audiogen.audio.io.files import Encoding, samples_digest, write_audio
from audiogen.audio.loops import Seam
from audiogen.audio.measure.measures import SoundMeasures
from audiogen.pipeline import Pipeline
from audiogen.schema import Config, ConfigError, parse_config
from audiogen.storage import atomic_write_text, digest_of, read_json
from audiogen.take_request import Seed, TakeRequest

_log = logging.getLogger(__name__)
_NOT_BESIDE = {"file", "run"}
"""Of a pack's job, not of a take: its file may be moved, and a folder's name may be private."""


class Batch(Config):
    """What was made at once with a take: its last bits depend on the shape of the batch."""

    place: int = Field(ge=0)
    """Of the take among them."""
    takes: tuple[tuple[str, Seed, float], ...]
    """Prompt, seed and seconds of each, the take itself included."""

    def requests(self, own: TakeRequest) -> list[TakeRequest]:
        """Return what was asked for at once, `own` included.

        Raises:
            ValueError: `own` is not the take that was made in this batch.
        """
        found = [
            own.model_copy(update={"prompt": prompt, "seed": seed, "seconds": seconds})
            for prompt, seed, seconds in self.takes
        ]
        if self.place >= len(found) or found[self.place] != own:
            raise ValueError(f"no take of this prompt, seed and length at place {self.place}")
        return found


class Candidate(Config):
    """One of several sounds of which the best was kept; scores are from 0 to 1."""

    seed: Seed
    score: float
    """That of the texture times that of the prompt, where there is one."""
    texture: float
    """1 for a sound that is not clipped, silent or broken off, whose seam is not heard and that is
    not nearly another take of its prompt."""
    prompt: float | None
    """How probably it is what the prompt names; None where nobody can say."""


class Choosing(Config):
    """How a take was chosen among candidates."""

    chosen: int = Field(ge=0)
    candidates: tuple[Candidate, ...]
    label: str | None = None
    """What the prompt names, of the sounds that the recogniser knows."""
    judge: str = ""
    """Digest of the recogniser; empty where there was none."""

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Self:
        if self.chosen >= len(self.candidates):
            raise ValueError(f"chosen {self.chosen} of {len(self.candidates)} candidates")
        return self

    @property
    def kept(self) -> Candidate:
        """The one that was kept."""
        return self.candidates[self.chosen]


class SourceFile(Config):
    """A file that a sound was made from."""

    file: str
    sha256: str
    changes: tuple[str, ...] = ()
    """What had to be converted, a line each."""


class Edit(Config):
    """How a sound was made from other sounds; further keys are the settings of the operation."""

    model_config = ConfigDict(extra="allow")

    operation: Literal["vary", "inpaint", "extend", "morph", "transpose"]
    sources: tuple[SourceFile, ...]


class Layer(Config):
    """Which part of a sound a layer is."""

    file: str
    sha256: str
    by: str
    layer: str
    model: str = ""
    """Of stems, and the sha256 of the files of its weights."""
    weights: tuple[str, ...] = ()


class Export(Config):
    """The take that an exported file was made from, and what was said of it."""

    file: str
    sha256: str = ""
    note: str = ""
    star: bool = False
    cut_in_wav: dict[str, Any] = Field(default_factory=dict)
    """Texts that were too long for the file's own metadata."""


class Take(TakeRequest):
    """One sound: what was asked for, what was made, and where it comes from.

    It is what lies beside a sound as JSON (`read_take`, `write_take`) and, before the sound is
    made, a row of a pack's job. A sound whose origin nobody knows is a take without `model`.
    """

    model_config = ConfigDict(extra="allow")  # what others add to the file is kept

    label: str = ""
    """Of an evaluation: the class that its prompt names."""

    file: str = ""
    """Of a pack: the name of its file, without suffix."""
    run: str = ""
    """Of a pack: the run folder whose model makes it, as it was given."""
    parent: str = ""
    """File of the take that it was made again from, without suffix."""
    best_of: int = Field(default=1, ge=1, strict=True)
    """Of how many candidates it is the best."""

    asked_seed: Seed | None = None
    """The seed that was asked for, where that of the take stands in for it."""
    model: str = ""
    """Name of the model that made it."""
    model_digest: str = ""
    """Sixteen hexadecimal digits that name its weights; empty for weights never saved."""
    licences: dict[str, int] = Field(default_factory=dict)
    """Training files by licence."""
    licence_policy: str = ""
    i_own_these: bool = False
    """Whether the trainer stated to own the sounds without a licence."""
    codec_licence: str = ""
    """Of the weights of a pretrained codec."""
    made_with: dict[str, str] = Field(default_factory=dict)
    """Version of torch, and kind of device."""

    sample_rate: int | None = None
    """Hz, of the file."""
    samples: int | None = None
    """Of each channel."""
    seam: Seam | None = None
    """Of a loop."""
    batch: Batch | None = None
    """None for a take that was made alone."""
    choosing: Choosing | None = None
    edit: Edit | None = None
    layer: Layer | None = None
    export: Export | None = None
    measures: SoundMeasures | None = None
    samples_sha256: str = ""
    """See `audio.io.files.samples_digest`; written with the file."""

    @classmethod
    def made_by(cls, pipeline: Pipeline, request: TakeRequest, **facts: Any) -> Self:
        """Return the take that `pipeline` makes of a request, with further facts of it."""
        config, terms = pipeline.config, pipeline.config.terms
        origin = {
            "sampling": request.sampling or config.sample,
            "sample_rate": request.rate or pipeline.codec.spec.sample_rate,
            "model": config.name,
            "model_digest": pipeline.digest,
            "licences": config.licences,
            "licence_policy": "" if terms is None else terms.licence_policy,
            "i_own_these": terms is not None and terms.i_own_these,
            "codec_licence": config.codec_licence,
            "made_with": {"torch": torch.__version__, "device": pipeline.codec.device.type},
        }
        return cls(**{**dict(request), **origin, **facts})

    @property
    def request(self) -> TakeRequest:
        """What was asked for, without the rest."""
        return TakeRequest(**{name: getattr(self, name) for name in TakeRequest.model_fields})

    def is_sound(self, sound: Path) -> bool:
        """Whether a file has the samples that the take was written with, where that is known."""
        if not self.samples_sha256:
            return True
        with opened(sound) as audio:
            return samples_digest(audio.blocks(), audio.sample_rate) == self.samples_sha256

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that name what it is made of, and by which model."""
        made_of = {**_written(self.request), "model_digest": self.model_digest}
        return digest_of({**made_of, "best_of": self.best_of} if self.best_of > 1 else made_of)

    def to_tree(self) -> dict[str, Any]:
        """Return it as JSON types; what is as it is by default is left out."""
        return _written(self)

    @classmethod
    def from_tree(cls, tree: object, source: str) -> Self:
        """Read what `to_tree` gave.

        Raises:
            ConfigError: it is no take; names `source` and what is wrong.
        """
        if not isinstance(tree, Mapping):
            raise ConfigError(f"{source}: not the JSON file of a take; expected a JSON object")
        return parse_config(cls, tree, source)


def read_take(sound: Path) -> Take | None:
    """Return the take that the JSON file beside a sound tells of; None where there is no file.

    Raises:
        ValueError: the file is not a take's; at most four lines that say what is wrong.
    """
    path = sound.with_suffix(".json")
    if not path.is_file():
        return None
    try:
        return Take.from_tree(read_json(path), str(path))
    except ValueError as error:
        lines = str(error).removeprefix(f"{path}:").strip().splitlines()
        raise ValueError(
            "\n  ".join([f"{path}: not the JSON file of a take", *map(str.strip, lines[:3])])
        ) from None


def take_of_sound(sound: Path) -> Take | None:
    """Return what `read_take` does, but None, with a warning, for another sound under its name.

    Raises:
        ValueError: see `read_take`.
    """
    take = read_take(sound)
    if take is None or take.is_sound(sound):
        return take
    text = "%s: not the sound that its JSON file tells of; nothing of what it tells is used"
    _log.warning(text, sound.name)
    return None


def write_take(
    path: Path,
    wav: Tensor,
    take: Take,
    encoding: Encoding = "PCM_24",
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write a sound (C, T) with its JSON file; what is there is replaced.

    `tags` are those of `write_audio`.

    Raises:
        ValueError: the sound cannot be written; see `write_audio`.
    """
    if take.sample_rate is None:
        raise ValueError(f"{path}: a take is written at its sample rate, and this one has none")
    told = take.model_copy(update={"samples": wav.shape[1]})
    beside = _beside(told)
    write_audio(path, wav, take.sample_rate, encoding=encoding, sidecar=beside, tags=tags)


def amend_take(sound: Path, **facts: Any) -> None:
    """Change facts of the JSON file beside a sound that stays as it is."""
    take = read_take(sound)
    if take is None:
        raise ValueError(f"{sound}: there is no JSON file beside it to be changed")
    told = _beside(take.model_copy(update=facts))
    text = json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False)
    atomic_write_text(sound.with_suffix(".json"), text + "\n")


def take_slug(prompt: str) -> str:
    """Return at most 48 of [a-z0-9-] that tell a prompt in a file name.

    >>> take_slug("Rain, on a tin roof!")
    'rain-on-a-tin-roof'
    """
    slug = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:48].strip("-")
    return slug or "take"


def _beside(take: Take) -> dict[str, Any]:
    return {name: value for name, value in _written(take).items() if name not in _NOT_BESIDE}


def _written(request: TakeRequest) -> dict[str, Any]:
    """JSON types of a request, or a take, without what is as by default."""
    unset = {
        name
        for name, field in type(request).model_fields.items()
        if not field.is_required()
        and getattr(request, name) == field.get_default(call_default_factory=True)
    }
    return request.model_dump(mode="json", exclude=unset)
