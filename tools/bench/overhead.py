"""What guard, undo, tracker and checkpoints cost in training speed, against the bare loop.

    python tools/bench/overhead.py RECIPE codec|generator --steps 20 --rounds 3

Trains on made-up numbers, in turns with and without them, and compares the fastest rounds. A
checkpoint's seconds are measured and spread over the recipe's interval. Prints one line.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from accelerate import Accelerator
from torch import Tensor

from audiogen.codecs import build_codec
from audiogen.conditioning.text import TEXT_DIM
from audiogen.data.loading.clips import Position
from audiogen.evaluation.machine import processor_name
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.generators import build_generator
from audiogen.training.checkpoint.resume import Resumable
from audiogen.training.loop import codec_loop, generator_loop
from audiogen.training.loop.codec_loop import train_codec
from audiogen.training.loop.divergence import Guard
from audiogen.training.loop.generator_loop import train_generator
from audiogen.training.loop.reading import Reading, read
from audiogen.training.loop.stage import Examples, StageRun
from audiogen.training.loop.tracking import Tracker
from audiogen.types import Batch, Conditions


class Noise:
    """Items (channels, length), or tokens."""

    def __init__(self, channels: int, length: int, vocab_size: int | None = None) -> None:
        shape = (channels, length)
        self._item = 0.2 * torch.randn(shape)
        if vocab_size is not None:
            self._item = torch.randint(vocab_size, shape)

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, position: Position) -> Tensor:
        return self._item

    def name_of(self, position: Position) -> str:
        """Return a name."""
        return f"noise-{position.index}"


def collate(items: Sequence[Tensor]) -> Batch:
    """Join items to a batch with texts."""
    size, latents = len(items), torch.stack(list(items))
    conditions = Conditions(
        text=torch.randn(size, 8, TEXT_DIM),
        text_mask=torch.ones(size, 8, dtype=torch.bool),
        pooled=torch.randn(size, TEXT_DIM),
        controls={"seconds": torch.ones(size), "role": torch.zeros(size)},
    )
    mask = torch.ones(size, latents.shape[-1], dtype=torch.bool)
    return Batch(latents=latents, mask=mask, conditions=conditions)


def train(config: ExperimentConfig, stage: str) -> None:
    """Train the recipe's codec or generator."""
    torch.manual_seed(0)
    codec = build_codec(config.codec)
    spec, accelerator = codec.spec, Accelerator(cpu=True)
    run = StageRun(
        stage="codec" if stage == "codec" else "generator",
        folder=config.run,
        config=config.train,
        seed=config.seed,
        settings={},
        accelerator=accelerator,
        demo=lambda step, tracker: None,
    )
    if stage == "codec":
        seconds = config.train.codec.crop_seconds
        clips = Noise(spec.audio_channels, spec.num_frames(seconds) * spec.hop_length)
        examples = Examples(items=clips, collate=torch.stack, seconds=seconds)
        train_codec(codec, examples, config.train.codec, run)
        return
    if config.generator is None:
        raise SystemExit("this recipe has no generator")
    window = spec.num_frames(config.data.clip_seconds)
    generator = build_generator(config.generator, spec, TEXT_DIM, window)
    items = Noise(spec.channels, window, spec.vocab_size)
    examples = Examples(items=items, collate=collate, seconds=config.data.clip_seconds)
    train_generator(generator, examples, config.train.generator, run)


@contextlib.contextmanager
def bare() -> Iterator[None]:
    """Leave out all that is measured here."""

    def nothing(*_: object, **__: object) -> None:
        """Do nothing."""

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(Guard, "judge", return_value=""))
        stack.enter_context(mock.patch.object(codec_loop, "Undo", mock.MagicMock()))
        stack.enter_context(mock.patch.object(Resumable, "save", nothing))
        for name in ("log", "advance"):
            stack.enter_context(mock.patch.object(Tracker, name, nothing))
        yield


def measure(
    recipe: Path, stage: str, num_steps: int, mode: Callable[[], Any]
) -> tuple[float, float]:
    """Return seconds of a step without its checkpoint, and of a checkpoint."""
    starts: list[float] = []
    saves = [0.0]
    save, reading = Resumable.save, read

    def recording(*args: Any) -> Reading:
        starts.append(time.perf_counter())
        return reading(*args)

    def saving(*args: Any) -> None:
        before = time.perf_counter()
        save(*args)
        saves.append(time.perf_counter() - before)

    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        config = load_config(recipe, [f"run_dir={folder}/run", f"train.{stage}.steps={num_steps}"])
        config.run_dir.mkdir()
        for loop in (codec_loop, generator_loop):
            stack.enter_context(mock.patch.object(loop, "read", recording))
        stack.enter_context(mock.patch.object(Resumable, "save", saving))
        stack.enter_context(mode())
        train(config, stage)
    total = starts[-1] - starts[0] - sum(saves)
    return total / (num_steps - 1), sum(saves) / max(1, len(saves) - 1)


def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("stage", choices=["codec", "generator"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    every = load_config(given.recipe, []).train.checkpoint_every
    full, plain = [], []
    for _ in range(given.rounds):
        plain.append(measure(given.recipe, given.stage, given.steps, bare)[0])
        full.append(measure(given.recipe, given.stage, given.steps, contextlib.nullcontext))
    save = min(seconds for _, seconds in full)
    step, base = min(seconds for seconds, _ in full), min(plain)
    overhead = 100 * ((step + save / every) / base - 1)
    print(
        f"{given.stage} of {given.recipe}: {1 / base:.2f} steps/s bare,"
        f" {1 / (step + save / every):.2f} with all, overhead {overhead:.1f} %"
        f" (checkpoint {save:.2f} s every {every} steps;"
        f" {processor_name()}, {torch.get_num_threads()} threads)"
    )


if __name__ == "__main__":
    main()
