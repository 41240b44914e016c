"""How codec and generator are trained: the optimizer, the stages, and what all loops share."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from audiogen.codecs.discriminators import DiscriminatorConfig
from audiogen.codecs.losses import SpectralLossConfig
from audiogen.generators import ODESamplingConfig
from audiogen.schema import Config
from audiogen.start import AnyCodecStart

Schedule = Literal["constant", "cosine", "linear", "wsd"]
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

    start: AnyCodecStart = None
    """A codec, such as base or runs/diffusion, whose trunk's weights training begins with; None or
    scratch begins with random ones."""
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
    by_length: bool = False
    """Whether sounds shorter than the window are drawn in proportion to their length, at least a
    quarter as often as one that fills it. Long recordings are always drawn once for each window.
    Else much of each batch is padding where many sounds of a large set are short."""
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
    copy_check_takes: int = Field(default=0, ge=0)
    """Takes of the training labels that are made with each demo of the generator and compared with
    the training clips; the share of near-copies is written down (`copies`). With `keep_best`,
    weights are not kept when more than a tenth of their takes are. 0 is none."""
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
