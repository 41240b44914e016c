"""A whole experiment as one typed configuration, with the checks that cross its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from audiogen.codecs import AnyCodec, find_saved, kind_of
from audiogen.codecs.discriminators import DiscriminatorConfig
from audiogen.codecs.losses import SpectralLossConfig
from audiogen.codecs.saved import SavedConfig, codec_digest, find_codec
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
from audiogen.start import AnyStart, like_start
from audiogen.storage import digest_of

Stage = Literal["codec", "generator", "distil"]
Schedule = Literal["constant", "cosine", "linear", "wsd"]


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
    clip_seconds: float = Field(default=5.0, gt=0, le=600)
    """Training window of the generator."""
    held_out: float = Field(default=0.2, gt=0, lt=1)
    """Share of the recordings kept for evaluation."""
    num_workers: int = Field(default=0, ge=0)
    """Loader processes; 0 loads in the training process, which is fastest for small sets."""


Beta = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class OptimConfig(Config):
    """The optimizer and its learning-rate schedule."""

    algorithm: Literal["adamw", "muon"] = "adamw"
    """muon moves the matrices of the network's blocks by Muon, and all else by AdamW."""
    lr: float = Field(default=3e-4, gt=0, le=1, allow_inf_nan=False)
    """Peak learning rate, reached after the warm-up."""
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    """Decay of AdamW's running mean of gradients and of their squares; each in [0, 1)."""
    weight_decay: float = Field(default=0.01, ge=0, le=1, allow_inf_nan=False)
    """Decoupled weight decay of matrices and kernels; vectors and embeddings have none."""
    warmup_steps: int = Field(default=200, ge=0)
    """Steps over which the learning rate rises linearly from near 0 to `lr`."""
    schedule: Schedule = "cosine"
    """Course after the warm-up: constant, cosine, linear, or wsd (flat, then a late cooldown)."""
    final_ratio: float = Field(default=0.05, ge=0, le=1, allow_inf_nan=False)
    """Learning rate at the last step as a share of `lr`; unused by the constant schedule."""
    max_grad_norm: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Gradients are scaled down to this norm over all parameters when they exceed it."""

    @model_validator(mode="after")
    def _second_beta_is_slower(self) -> Self:
        if self.betas[1] < self.betas[0]:
            raise ValueError(f"betas: the second must not be below the first (got {self.betas})")
        return self


class CodecTrainConfig(Config):
    """Training of the codec."""

    steps: int = Field(default=1000, ge=1)
    batch_size: int = Field(default=16, ge=1)
    """Over all processes."""
    crop_seconds: float = Field(default=0.93, gt=0)
    """Length of the excerpts that the codec is trained on."""
    adversarial_start: float = Field(default=0.88, ge=0, le=1)
    """Share of the steps done before the discriminators come in; 1 leaves them out."""
    adversarial_weight: float = Field(default=0.3, ge=0)
    feature_weight: float = Field(default=1.0, ge=0)
    discriminator_lr: float = Field(default=5e-4, gt=0, le=1)
    optim: OptimConfig = OptimConfig(
        lr=1.2e-3, betas=(0.8, 0.99), schedule="wsd", warmup_steps=50, max_grad_norm=5.0
    )
    spectral: SpectralLossConfig = SpectralLossConfig()
    discriminators: DiscriminatorConfig = DiscriminatorConfig()
    ema_decay: float = Field(default=0.995, ge=0, lt=1)


class GeneratorTrainConfig(Config):
    """Training of the generator."""

    steps: int = Field(default=550, ge=1)
    batch_size: int = Field(default=32, ge=1)
    """Over all processes and accumulated gradients."""
    accumulate: int = Field(default=1, ge=1)
    """Micro-batches per step."""
    versions: int = Field(default=1, ge=1, le=64)
    """Of each sound that are learnt: itself, and copies of up to 4 % more or less speed, every
    second pair with the polarity reversed. They keep a small set from being learnt by heart."""
    words: bool = True
    """Whether sounds are also called dull or bright, sparse or dense, and soft or heavy, where they
    measure so among those of their label."""
    captions: int = Field(default=1, ge=0, le=100)
    """How often the captions of a sound are said where its label alone is said five times, and with
    words twice. Raise it where captions tell more than labels do."""
    mixtures: float = Field(default=0.1, ge=0, le=0.9)
    """Share of the training examples that are two sounds of different labels at once, "rain and
    bell", or one after the other, "rain, then bell"; there are none with fewer than two labels."""
    prior: float = Field(default=0.0, ge=0, le=0.9)
    """Share of the training examples that are takes of the model that training began from, `start`,
    of its own labels, so that it does not forget them."""
    optim: OptimConfig = OptimConfig(lr=6e-4, warmup_steps=40)
    ema_decay: float = Field(default=0.99, ge=0, lt=1)

    @model_validator(mode="after")
    def _accumulation_divides(self) -> GeneratorTrainConfig:
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size={self.batch_size} must be a multiple of accumulate={self.accumulate}"
            )
        return self


class DistilConfig(Config):
    """A last stage that teaches the generator to reach the end of its paths in few steps."""

    num_paths: int = Field(default=1024, ge=1)
    """Paths of the trained generator, from noise to latents, that are recorded and learnt."""
    teacher: ODESamplingConfig = ODESamplingConfig()
    """How the paths are sampled; its guidance is built into the few-step model."""
    first_share: float = Field(default=0.3, ge=0, le=1)
    """Share of the training examples that begin at pure noise; the rest is spread evenly."""
    train: GeneratorTrainConfig = GeneratorTrainConfig(
        steps=600, optim=OptimConfig(lr=3e-4, warmup_steps=40)
    )

    @model_validator(mode="after")
    def _paths_are_recorded_at_every_step(self) -> DistilConfig:
        if self.teacher.solver not in {"euler", "dpmpp_2m"}:
            raise ValueError(
                "teacher.solver must be euler or dpmpp_2m, whose evaluations lie on the path"
            )
        return self


class LoopConfig(Config):
    """What is the same in every training stage."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto takes bf16 where the hardware multiplies it."""
    activation_checkpointing: bool = False
    """Whether the backward pass computes each block again instead of keeping what is in it: about a
    third more work, for a fraction of the memory."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """How several processes hold a generator: ddp gives each a copy; fsdp (FSDP2) splits weights,
    gradients, optimizer and average over them, for models that one GPU does not hold. Codecs are
    always copied."""
    compile: bool = False
    """Whether the blocks are compiled by `torch.compile`; it needs a C++ compiler, and minutes at
    the start."""
    log_every: int = Field(default=20, ge=1)
    """Steps between lines of metrics."""
    checkpoint_every: int = Field(default=250, ge=1)
    """Steps between checkpoints."""
    demo_every: int = Field(default=275, ge=1)
    """Steps between audio demos; there is one before the first step and after the last."""
    held_out_clips: int = Field(default=0, ge=0)
    """Held-out clips, and as many training clips, whose losses are written down with each demo of
    the generator (`held_out_loss` and `known_loss`, of the averaged weights); 0 is none."""
    keep_best: bool = False
    """Whether the generator's model is that of the demo with the lowest `held_out_loss`, and not
    that of the last step: what is trained for long on few sounds learns them by heart."""
    demo_prompts: tuple[str, ...] = ()
    """Prompts of the generator's demos; empty takes the first four labels of the data."""
    allow_change: bool = False
    """Go on from a checkpoint that was made with other settings or data; it records them."""
    spike_factor: float = Field(default=30.0, gt=1)
    """A step whose loss is above this many times the median of the last ones is left out."""
    max_rollbacks: int = Field(default=3, ge=0)
    """Returns to the last good checkpoint, after steps in a row that were left out, before
    training stops."""
    wandb: Literal["off", "offline", "online"] = "off"


class TrainConfig(LoopConfig):
    """Both training stages and what they share."""

    codec: CodecTrainConfig = CodecTrainConfig()
    generator: GeneratorTrainConfig = GeneratorTrainConfig()


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
    for key, find in (("codec.path", _found_codec), ("start", _found_start)):
        try:
            found |= find(config)
        except (OSError, ValueError) as error:
            if isinstance(error, FileNotFoundError) and not must_find:
                return config
            raise ConfigError(f"{path}: {key}: {error}") from None
    if not found:
        return config
    tree = {**config.model_dump(mode="json"), **found}
    return parse_config(ExperimentConfig, tree, source=str(path))


def _found_codec(config: ExperimentConfig) -> dict[str, Any]:
    """The block of a saved codec as its folder fills it in; nothing where nothing is open."""
    codec = find_saved(config.codec)
    return {} if codec is config.codec else {"codec": codec.model_dump(mode="json")}


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
