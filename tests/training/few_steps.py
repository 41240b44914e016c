"""Trains one model for some steps on made-up data; a script that tests start on several processes.

usage: few_steps.py RUN_DIR FAMILY [double] [FAULT@ITEM] [KEY=VALUE]...

`double` computes in float64. A fault (raise, stop, kill, sleep, term, usr1, int, twice) strikes
the last process when it loads its ITEM-th item; the others then wait for it in a collective half a
minute.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Dataset

from audiogen.codecs import build_codec
from audiogen.data.loading.clips import Position
from audiogen.experiment import ExperimentConfig, Stage, load_config
from audiogen.generators import build_generator
from audiogen.seeds import normal, numbers_of
from audiogen.storage import write_tensors
from audiogen.training.distributed.launch import (
    COLLECTIVE_TIMEOUT,
    joined_processes,
    make_accelerator,
)
from audiogen.training.distributed.waiting import wait_for_all
from audiogen.training.loop.codec_loop import train_codec
from audiogen.training.loop.generator_loop import train_generator
from audiogen.training.loop.stage import Examples, StageRun
from audiogen.training.loop.tracking import Tracker
from audiogen.types import Batch, Conditions, LatentSpec

RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "tiny"
WINDOW, TEXT_DIM, NUM_ITEMS = 12, 6, 40
DOUBLE = "double"
FAULTS = {
    "stop": signal.SIGSTOP,
    "kill": signal.SIGKILL,
    "term": signal.SIGTERM,
    "usr1": signal.SIGUSR1,
    "int": signal.SIGINT,
}


class Numbers(Dataset[Tensor]):
    """Noise (channels, length), or tokens; a function of the position alone."""

    def __init__(self, channels: int, length: int, vocab_size: int | None = None) -> None:
        self.shape, self.vocab_size = (channels, length), vocab_size
        self.fault, self.left = "", 0

    def expect(self, fault: str, accelerator: Accelerator) -> None:
        """Have a fault "NAME@ITEM" strike the last process."""
        if fault and accelerator.process_index == accelerator.num_processes - 1:
            self.fault, _, item = fault.partition("@")
            self.left = int(item)

    def __len__(self) -> int:
        return NUM_ITEMS

    def name_of(self, position: Position) -> str:
        """What stands for the file of an item."""
        return f"made-up-{position.index}"

    def __getitem__(self, position: Position) -> Tensor:
        self.left -= 1
        if self.fault and self.left == 0:
            strike(self.fault)
        random = numbers_of("clip", 0, position.epoch, position.index)
        if self.vocab_size is None:
            return 0.2 * normal(random, *self.shape)
        return torch.from_numpy(random.integers(self.vocab_size, size=self.shape))


def strike(fault: str) -> None:
    """Break this process, or send it a signal."""
    if fault == "raise":
        raise ValueError("a fault that a test asked for")
    if fault == "sleep":
        time.sleep(600)
    elif fault == "twice":
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
    else:
        os.kill(os.getpid(), FAULTS[fault])


def collate(items: Sequence[Tensor]) -> Batch:
    """A batch whose items have lengths, texts and controls that follow from their numbers."""
    latents = torch.stack(list(items))
    first = latents[:, 0, 0].float()
    lengths = 4 + (first.abs() * 1000).long() % (WINDOW - 3)
    text = first[:, None, None] + torch.arange(3.0)[:, None] * torch.ones(TEXT_DIM) / 3
    conditions = Conditions(
        text=text,
        text_mask=torch.ones(len(items), 3, dtype=torch.bool),
        pooled=text[:, 0],
        controls={"seconds": lengths / 10, "role": torch.zeros(len(items))},
    )
    mask = torch.arange(WINDOW) < lengths[:, None]
    return Batch(latents=latents, mask=mask, conditions=conditions)


def no_demo(step: int, tracker: Tracker) -> None:
    """Show nothing."""


def stage_run(stage: Stage, config: ExperimentConfig, accelerator: Accelerator) -> StageRun:
    """A stage without demos."""
    return StageRun(
        stage=stage,
        folder=config.run,
        config=config.train,
        seed=config.seed,
        settings={},
        accelerator=accelerator,
        demo=no_demo,
    )


def train_model(
    family: str, config: ExperimentConfig, accelerator: Accelerator, fault: str
) -> None:
    """Train a codec (vae, rvq, mel) or a generator (the other families)."""
    torch.manual_seed(config.seed)
    if config.generator is None:
        codec = build_codec(config.codec)
        frames = codec.spec.num_frames(config.train.codec.crop_seconds)
        clips = Numbers(codec.spec.audio_channels, frames * codec.spec.hop_length)
        clips.expect(fault, accelerator)
        train_codec(
            codec,
            Examples(items=clips, collate=torch.stack, seconds=config.train.codec.crop_seconds),
            config.train.codec,
            stage_run("codec", config, accelerator),
        )
        return
    tokens = family in {"autoregressive", "masked"}
    spec = LatentSpec(
        kind="tokens" if tokens else "continuous",
        channels=4,
        vocab_size=16 if tokens else None,
        hop_length=512,
        sample_rate=16000,
        audio_channels=1,
    )
    dataset = Numbers(4, WINDOW, spec.vocab_size)
    dataset.expect(fault, accelerator)
    generator = build_generator(config.generator, spec, TEXT_DIM, WINDOW)
    train_generator(
        generator,
        Examples(items=dataset, collate=collate, seconds=config.data.clip_seconds),
        config.train.generator,
        stage_run("generator", config, accelerator),
    )
    if accelerator.is_main_process:
        write_tensors(config.run_dir / "product.safetensors", generator.state_dict())


def load(run_dir: Path, family: str, overrides: Sequence[str]) -> ExperimentConfig:
    """The tiny recipe of a family, writing to `run_dir`."""
    recipe = {"vae": "diffusion", "flow": "diffusion", "masked": "autoregressive"}
    given = [f"run_dir={run_dir}", "train.checkpoint_every=1000", *overrides]
    if family in {"flow", "masked"}:
        given.append(f"generator={{type: {family}, dim: 32, depth: 2, num_heads: 2}}")
    config = load_config(RECIPES / f"{recipe.get(family, family)}.yaml", given)
    return config.model_copy(update={"generator": None}) if family == "vae" else config


def main() -> None:
    """Run the command line."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    run_dir, family, *overrides = sys.argv[1:]
    if DOUBLE in overrides:  # rounding is then too small for a chaotic training to blow it up
        overrides.remove(DOUBLE)
        torch.set_default_dtype(torch.float64)
        torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    faults = [word for word in overrides if "@" in word]
    overrides = [word for word in overrides if word not in faults]
    config = load(Path(run_dir), family, overrides)
    config.run_dir.mkdir(parents=True, exist_ok=True)
    patience = timedelta(seconds=30) if faults else COLLECTIVE_TIMEOUT
    with joined_processes(patience) as state:
        accelerator = make_accelerator(config, state)
        train_model(family, config, accelerator, "".join(faults))
        wait_for_all()


if __name__ == "__main__":
    main()
