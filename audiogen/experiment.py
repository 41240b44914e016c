"""A whole experiment as one typed configuration, with the checks that cross its blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from audiogen.codecs import AnyCodec, find_saved, kind_of, learns
from audiogen.codecs.saved import SHAPE, SavedConfig, codec_digest, find_codec
from audiogen.conditioning.text import TextConfig
from audiogen.data.intake.licences import LicenceTerms
from audiogen.generators import (
    GENERATORS,
    AnyGenerator,
    AnySampling,
    ODESamplingConfig,
    check_kind,
)
from audiogen.generators.abilities import HasPaths
from audiogen.limits import MAX_SEED, MAX_WINDOWS, MIN_SECONDS
from audiogen.run_folder import CONFIG, RunFolder, model_digest
from audiogen.schema import Config, ConfigError, UserPath, by_type, parse_config, read_config
from audiogen.start import AnyStart, like_start, require_same_trunk
from audiogen.storage import digest_of
from audiogen.train_config import DistilConfig, TrainConfig
from audiogen.trees import parse_overrides

Stage = Literal["codec", "generator", "distil"]


class TexturesConfig(Config):
    """The procedural set that is made when `data.path` is not given."""

    num_clips: int = Field(default=360, ge=1)
    seconds: float = Field(default=5.0, ge=0.5, le=60)
    seed: int = Field(default=0, ge=0, le=MAX_SEED)


class DataConfig(LicenceTerms):
    """Which sounds, under which licences, and how they are split and cut."""

    path: UserPath | None = None
    """Folder of sounds; None makes the procedural set of textures."""
    textures: TexturesConfig = TexturesConfig()
    label: str = Field(default="", max_length=200)
    """What sounds are called that neither a table nor a folder gives a label."""
    clip_seconds: float = Field(default=5.0, gt=0, le=600)
    """Training window of the generator."""
    held_out: float = Field(default=0.2, gt=0, lt=1)
    """Share of the recordings kept for evaluation."""
    num_workers: int = Field(default=0, ge=0)
    """Loader processes; 0 loads in the training process, which is fastest for small sets."""


class EvaluateConfig(Config):
    """What is generated and compared by `audiogen evaluate`."""

    takes_per_label: int = Field(default=8, ge=2)
    seconds: float = Field(default=5.0, gt=0)
    batch_size: int = Field(default=8, ge=1)
    likelihood_clips: int = Field(default=8, ge=0)
    """Held-out clips, and as many training clips, whose likelihood is computed; 0 is none."""
    seed: int = Field(default=0, ge=0, le=MAX_SEED)


class ExperimentConfig(Config):
    """One recipe: codec, text, generator, data, training, sampling and evaluation."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_-]+$")
    run_dir: UserPath = Field(default_factory=lambda config: Path("runs") / config.get("name", ""))
    """Where everything that the run makes is written; runs/NAME where nothing is said."""
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    codec: AnyCodec
    text: TextConfig = TextConfig()
    generator: AnyGenerator | None = None
    """None trains a codec alone."""
    start: AnyStart = None
    """A model whose weights the generator's training begins with, such as runs/diffusion; None or
    scratch begins with random ones."""
    distil: DistilConfig | None = None
    """None is no few-step stage."""
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    sample: AnySampling = ODESamplingConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="before")
    @classmethod
    def _sampling_follows_the_generator(cls, tree: Any) -> Any:
        """Fill in `sample.type`, which the generator's type implies."""
        match tree:
            case {"generator": {"type": str(name)}} if found := by_type(GENERATORS).get(name):
                sampling = GENERATORS[found].sampling
            case _:
                sampling = ODESamplingConfig
        family = sampling.model_fields["type"].default
        given = tree.get("sample", {}) if isinstance(tree, dict) else None
        if not isinstance(given, dict):
            return tree  # not a block: the field itself says what is wrong
        return {**tree, "sample": {"type": family, **given}}

    @model_validator(mode="after")
    def _has_what_it_asks_for(self) -> Self:
        if self.train.keep_best and not self.train.held_out_clips:
            raise ValueError(
                "train.keep_best compares held-out losses; set train.held_out_clips=16"
            )
        if self.train.generator.prior and self.start is None:
            raise ValueError("train.generator.prior: there is no model before; give start=RUN")
        if self.train.generator.mixtures + self.train.generator.prior >= 1:
            raise ValueError("train.generator: mixtures and prior leave no place for the sounds")
        if self.start is not None and self.generator is None:
            raise ValueError("start: there is no generator that could begin anywhere")
        if self.distil is not None and self.generator is None:
            raise ValueError("distil needs a generator to learn from; add a generator section")
        return self

    @model_validator(mode="after")
    def _blocks_fit(self) -> ExperimentConfig:
        frame = self.codec.hop_length / self.codec.sample_rate
        for name, seconds in (
            ("data.clip_seconds", self.data.clip_seconds),
            ("train.codec.crop_seconds", self.train.codec.crop_seconds),
        ):
            if seconds < 4 * frame:
                raise ValueError(
                    f"{name}={seconds} is shorter than four latent frames of"
                    f" {frame:.3f} s (codec.hop_length / codec.sample_rate)"
                )
        if self.generator is not None:
            most = MAX_WINDOWS * self.data.clip_seconds
            if not MIN_SECONDS <= self.evaluate.seconds <= most:
                raise ValueError(
                    f"evaluate.seconds={self.evaluate.seconds:g}: a model of clips of"
                    f" {self.data.clip_seconds:g} s (data.clip_seconds) makes {MIN_SECONDS:g} to"
                    f" {most:g} s"
                )
            if (kind := kind_of(self.codec)) is not None:
                check_kind(self.generator, kind)
            generator = GENERATORS[type(self.generator)]
            if not isinstance(self.sample, generator.sampling):
                raise ValueError(
                    f"sample.type={self.sample.type}: generator.type={self.generator.type}"
                    f" takes {generator.sampling.model_fields['type'].default}"
                )
            if self.distil is not None and not issubclass(generator, HasPaths):
                raise ValueError("distil: only diffusion and flow have paths to learn from")
        return self

    @property
    def terms(self) -> LicenceTerms:
        """The licence policy and the statements made with it, without the rest of `data`."""
        return LicenceTerms.model_validate(
            {name: getattr(self.data, name) for name in LicenceTerms.model_fields}
        )

    @property
    def run(self) -> RunFolder:
        """Where the run keeps what."""
        return RunFolder(self.run_dir)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What is trained, in order; each is a folder of the run."""
        wanted: dict[Stage, object] = {"generator": self.generator, "distil": self.distil}
        return ("codec", *(stage for stage, block in wanted.items() if block is not None))

    @property
    def sounds(self) -> Path:
        """Folder of the sounds: the user's own, or the run's procedural set.

        The latter is named by what it was made from, so that other settings make another one.
        """
        if self.data.path is not None:
            return self.data.path
        tree = self.data.textures.model_dump(mode="json")
        made_from = [tree, self.codec.sample_rate, self.codec.audio_channels]
        return self.run_dir / f"sounds-{digest_of(made_from)[:8]}"


class ModelConfig(Config):
    """What a model folder says about itself; its codec has a folder and config of its own."""

    format: int = 1
    name: str
    codec: AnyCodec
    text: TextConfig
    generator: AnyGenerator
    sample: AnySampling
    clip_seconds: float = Field(gt=0)
    """The generator's training window."""
    licences: dict[str, int] = Field(default_factory=dict)
    """Training files by licence."""
    terms: LicenceTerms | None = None
    """Under which its sounds were used; None when nobody said."""
    codec_licence: str = ""
    """Of the weights of a pretrained codec, or of the sounds of one that was trained on others than
    the model; empty when it learnt from the same."""


def load_config(
    recipe: Path, overrides: Sequence[str] = (), *, must_find: bool = True
) -> ExperimentConfig:
    """Read a recipe, or the recipe of a run folder, with `key.path=value` overrides.

    What a saved codec is, is filled in from its folder, and what the generator is, from the model
    that it starts from.

    Args:
        recipe: the YAML file, or a run folder.
        overrides: in the order they were given.
        must_find: that the saved codec or the model to start from is not there is an error; else
            they stay as they are written.

    Raises:
        ConfigError: lists everything that is wrong, by key path.

    >>> config = load_config(Path("recipes/tiny/diffusion.yaml"), ["generator.dim=64"])
    >>> config.generator.type, config.generator.dim
    ('diffusion', 64)
    """
    path = RunFolder(recipe).config if recipe.is_dir() else recipe
    config = read_config(ExperimentConfig, path, overrides, derived=True)
    found: dict[str, Any] = {}
    # All look at the recipe as it was read: only there it is known what it leaves open.
    for key, find in (
        ("codec.path", _found_codec),
        ("train.codec.start", _found_codec_start),
        ("start", _found_start),
    ):
        try:
            found |= find(config)
        except (OSError, ValueError) as error:
            if isinstance(error, FileNotFoundError) and not must_find:
                return config
            raise ConfigError(f"{path}: {key}: {error}") from None
    if not found:
        return config
    _require_as_asked(found.get("codec", {}), overrides)
    tree = {**config.model_dump(mode="json"), **found}
    return parse_config(ExperimentConfig, tree, source=str(path))


def _found_codec(config: ExperimentConfig) -> dict[str, Any]:
    """The block of a saved codec as its folder fills it in; nothing where nothing is open."""
    codec = find_saved(config.codec)
    return {} if codec is config.codec else {"codec": codec.model_dump(mode="json")}


def _require_as_asked(codec: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Raise ConfigError where an override asks a saved codec for another rate, channels or hop."""
    asked = parse_overrides(overrides).get("codec")
    if not codec or not isinstance(asked, dict):
        return
    for name in SHAPE:
        if asked.get(name, codec[name]) != codec[name]:
            raise ConfigError(
                f"codec.{name}={asked[name]}: the codec at {codec['path']} has {codec[name]}\n"
                "  leave it out, or train a codec: make recipe-diffusion-scratch, recipe-rvq"
            )


def _found_codec_start(config: ExperimentConfig) -> dict[str, Any]:
    """The training's settings with the digest of the codec that it starts from."""
    start = config.train.codec.start
    if start is None or start.digest or not learns(config.codec):
        return {}
    require_same_trunk(config.codec, start.folder)
    found = start.model_copy(update={"digest": codec_digest(start.folder)})
    codec = config.train.codec.model_copy(update={"start": found})
    return {"train": config.train.model_copy(update={"codec": codec}).model_dump(mode="json")}


def _found_start(config: ExperimentConfig) -> dict[str, Any]:
    """The blocks of the start and of the generator, as the model to start from fills them in.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: the run's codec is not the model's.
    """
    start = config.start
    if start is None or start.digest or config.generator is None:
        return {}
    folder = start.folder
    codec = find_saved(config.codec)
    if not isinstance(codec, SavedConfig) or codec.digest != codec_digest(find_codec(start.path)):
        raise ValueError(
            f"{start.path}: its generator knows the latents of its own codec alone\n"
            f"  add codec.type=saved codec.path={start.path}, or take start=scratch"
        )
    trained = read_config(ModelConfig, folder / CONFIG).generator
    return {
        "start": {"path": str(start.path), "digest": model_digest(folder)},
        "generator": like_start(config.generator, trained),
    }
