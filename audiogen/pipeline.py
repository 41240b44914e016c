"""From prompts to waveforms: the codec, the text encoder and the generator behind one call."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
import yaml
from pydantic import Field
from torch import Tensor

from audiogen.audio.dsp import set_loudness
from audiogen.audio.files import write_audio
from audiogen.codecs import Codec, CodecConfig, load_codec, save_codec
from audiogen.conditioning.controls import make_controls
from audiogen.conditioning.text import TEXT_DIM, TextConfig, TextEncoder
from audiogen.generators import (
    GeneratorConfig,
    LatentGenerator,
    SamplingConfig,
    build_generator,
)
from audiogen.schema import Config, dump_config, parse_config
from audiogen.storage import publish_folder, read_tensors, sha256_file, write_tensors
from audiogen.types import Conditions

MIN_SECONDS = 0.5
MAX_WINDOWS = 12
"""Longest take, in training windows."""
MAX_GAIN_DB = 20.0
"""Takes come out near the loudness of the training clips; one far below it is silence, and more
gain would only turn its noise floor up."""


class ModelConfig(Config):
    """What a model folder says about itself; its codec has a folder and config of its own."""

    format: int = 1
    name: str
    codec: CodecConfig
    text: TextConfig
    generator: GeneratorConfig
    sample: SamplingConfig
    clip_seconds: float = Field(gt=0)
    """The generator's training window."""
    licences: dict[str, int] = Field(default_factory=dict)
    """Training files by licence."""


class Pipeline:
    """Owns codec, text encoder and generator.

    >>> from audiogen import Pipeline
    >>> pipeline = Pipeline.from_pretrained("runs/diffusion")  # doctest: +SKIP
    >>> wav = pipeline(["light rain"], seconds=5.0, seeds=[7])  # doctest: +SKIP
    """

    def __init__(
        self, config: ModelConfig, codec: Codec, generator: LatentGenerator, *, digest: str = ""
    ) -> None:
        self.config = config
        self.codec = codec.eval()
        self.generator = generator.eval()
        self.digest = digest
        """Sixteen hexadecimal digits that name the weights; empty for weights never saved."""
        self._text: TextEncoder | None = None

    @property
    def text(self) -> TextEncoder:
        """The text encoder, read when it is first needed."""
        if self._text is None:
            self._text = TextEncoder(self.config.text, self.codec.device)
        return self._text

    @torch.no_grad()
    def __call__(
        self,
        prompts: Sequence[str],
        *,
        seconds: float,
        seeds: Sequence[int],
        sampling: SamplingConfig | None = None,
    ) -> Tensor:
        """Generate one take per prompt.

        Args:
            prompts: B texts; an empty one leaves the sound to the model.
            seconds: length of every take, from 0.5 s to twelve training windows.
            seeds: one per take; a take depends on its own prompt and seed, not on its batch.
            sampling: solver and guidance; None takes the model's own.

        Returns:
            wav (B, C, T) with exactly round(seconds * sample_rate) samples, at -23 LUFS or with
            its peak at -1 dBFS, whichever is lower; near-silence is raised by 20 dB at most.

        Raises:
            ValueError: seconds out of range, or not one seed per prompt.
        """
        spec, window = self.codec.spec, self.config.clip_seconds
        if len(prompts) != len(seeds) or not prompts:
            raise ValueError(f"expected one seed per prompt, got {len(prompts)}, {len(seeds)}")
        if not MIN_SECONDS <= seconds <= MAX_WINDOWS * window:
            raise ValueError(
                f"seconds={seconds}: this model makes {MIN_SECONDS} to {MAX_WINDOWS * window:g} s"
            )
        latents = self.generator.sample(
            self.conditions(prompts, seconds),
            spec.num_frames(seconds),
            sampling=sampling or self.config.sample,
            seeds=seeds,
        )
        wav = self.codec.decode(latents, seeds=seeds)[..., : spec.num_samples(seconds)].cpu()
        levelled = [set_loudness(item, spec.sample_rate, max_gain_db=MAX_GAIN_DB) for item in wav]
        return torch.stack(levelled)

    def conditions(self, prompts: Sequence[str], seconds: float) -> Conditions:
        """Encode prompts; a take longer than the window is asked for as a slice."""
        states = self.text(prompts)
        window = self.config.clip_seconds
        controls = make_controls(
            seconds=[min(seconds, window)] * len(prompts),
            roles=["slice" if seconds > window else "whole"] * len(prompts),
        )
        conditions = Conditions(
            text=states.states, text_mask=states.mask, pooled=states.pooled, controls=controls
        )
        return conditions.to(self.codec.device)

    def to(self, device: torch.device | str) -> Self:
        """Move the models to `device`."""
        self.codec.to(device)
        self.generator.to(device)
        self._text = None
        return self

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """Load a run folder or a model folder.

        Raises:
            FileNotFoundError: there is no finished model; says where it was looked for.
            ConfigError: the folder's config is not valid.
        """
        folder = find_model(Path(path))
        text = (folder / "config.yaml").read_text(encoding="utf-8")
        tree = yaml.safe_load(text)
        config = parse_config(ModelConfig, tree, source=str(folder / "config.yaml"))
        codec = load_codec(folder / "codec")
        window = codec.spec.num_frames(config.clip_seconds)
        generator = build_generator(config.generator, codec.spec, TEXT_DIM, window)
        generator.load_state_dict(read_tensors(folder / "generator.safetensors"))
        generator.requires_grad_(requires_grad=False)
        return cls(config, codec, generator, digest=model_digest(folder))

    def save_pretrained(
        self, path: str | Path, *, card: str = "", attribution: Sequence[Mapping[str, str]] = ()
    ) -> None:
        """Write a folder that `from_pretrained` reads; it appears when it is complete.

        Args:
            path: the folder; an older one there is replaced.
            card: README.md of the model.
            attribution: rows of ATTRIBUTION.csv: the training files with author and licence.
        """
        with publish_folder(Path(path)) as folder:
            (folder / "config.yaml").write_text(dump_config(self.config), encoding="utf-8")
            (folder / "codec").mkdir()
            save_codec(folder / "codec", self.codec, self.config.codec)
            write_tensors(folder / "generator.safetensors", self.generator.state_dict())
            if card:
                (folder / "README.md").write_text(card, encoding="utf-8")
            if attribution:
                with (folder / "ATTRIBUTION.csv").open("w", encoding="utf-8", newline="") as file:
                    writer = csv.DictWriter(file, list(attribution[0]))
                    writer.writeheader()
                    writer.writerows(attribution)


def find_model(path: Path) -> Path:
    """Return the model folder of a run folder, or `path` itself when it is one."""
    for folder in (path / "generator" / "model", path):
        if (folder / "generator.safetensors").is_file():
            return folder
    raise FileNotFoundError(
        f"{path}: no finished model here\n"
        "  expected a run folder (with generator/model/) or a model folder; `audiogen train`"
        " makes one"
    )


def model_digest(folder: Path) -> str:
    """Name the weights of a model folder by sixteen hexadecimal digits."""
    files = (folder / "generator.safetensors", folder / "codec" / "weights.safetensors")
    return hashlib.sha256("".join(sha256_file(file) for file in files).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class TakesRequest:
    """What `audiogen sample` is asked for.

    Attributes:
        prompts: texts; each gives `count` takes.
        seconds: length of every take.
        count: takes per prompt, of the seeds `seed` to `seed + count - 1`.
        seed: of each prompt's first take.
        out: folder that the takes are written to.
        steps: of the solver; None takes the model's own.
        guidance_scale: None takes the model's own.
        batch_size: takes made at once; it does not change them.
    """

    prompts: Sequence[str]
    seconds: float
    count: int
    seed: int
    out: Path
    steps: int | None = None
    guidance_scale: float | None = None
    batch_size: int = 8


def write_takes(run: Path, request: TakesRequest) -> list[Path]:
    """Generate takes and write each as 24-bit WAV with a JSON sidecar; return the WAV paths.

    Nothing that is there already is overwritten: a name that is taken gets a number.
    """
    if request.count < 1 or request.batch_size < 1 or request.seed < 0 or not request.prompts:
        raise ValueError(
            "expected at least one prompt, count >= 1, batch_size >= 1 and seed >= 0, got"
            f" {len(request.prompts)}, {request.count}, {request.batch_size}, {request.seed}"
        )
    pipeline = Pipeline.from_pretrained(run)
    changes: dict[str, Any] = {"steps": request.steps, "guidance_scale": request.guidance_scale}
    given = {name: value for name, value in changes.items() if value is not None}
    tree = {**pipeline.config.sample.model_dump(), **given}
    sampling = parse_config(SamplingConfig, tree, source="sample")
    jobs = [
        (prompt, request.seed + number)
        for prompt in request.prompts
        for number in range(request.count)
    ]
    request.out.mkdir(parents=True, exist_ok=True)
    paths = []
    for start in range(0, len(jobs), request.batch_size):
        part = jobs[start : start + request.batch_size]
        wavs = pipeline(
            [prompt for prompt, _ in part],
            seconds=request.seconds,
            seeds=[seed for _, seed in part],
            sampling=sampling,
        )
        for (prompt, seed), wav in zip(part, wavs, strict=True):
            path = _free_path(request.out, f"{take_slug(prompt)}-seed{seed}")
            sidecar = take_sidecar(pipeline, prompt, seed, request.seconds, sampling)
            write_audio(path, wav, pipeline.codec.spec.sample_rate, sidecar=sidecar)
            paths.append(path)
    return paths


def take_sidecar(
    pipeline: Pipeline, prompt: str, seed: int, seconds: float, sampling: SamplingConfig
) -> dict[str, Any]:
    """What a take's JSON file tells: all that is needed to make it again, and whose sounds."""
    return {
        "prompt": prompt,
        "label": "",
        "seed": seed,
        "seconds": seconds,
        "sample_rate": pipeline.codec.spec.sample_rate,
        "sampling": sampling.model_dump(mode="json"),
        "model": pipeline.config.name,
        "model_digest": pipeline.digest,
        "licences": dict(pipeline.config.licences),
    }


def take_slug(prompt: str) -> str:
    """Return at most 48 of [a-z0-9-] that tell a prompt in a file name."""
    slug = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:48].strip("-")
    return slug or "take"


def _free_path(folder: Path, stem: str) -> Path:
    """Return `stem.wav` in `folder`, or with a number behind when that is taken."""
    path, number = folder / f"{stem}.wav", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.wav", number + 1
    return path
