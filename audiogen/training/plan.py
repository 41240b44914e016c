"""What a recipe will need, before it runs: parameters, memory per GPU, steps per day.

Parameters are counted. Activations and operations are measured on one made-up item in a forward
pass on the CPU, and scaled to the batch. Time is an estimate: operations over a share of what the
GPU can do at best.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from audiogen.codecs import Codec, build_codec
from audiogen.codecs.discriminators import Discriminators
from audiogen.codecs.losses import SpectralDistance, draw_views, viewed
from audiogen.conditioning.controls import CONTROL_NAMES, CONTROL_RANGES
from audiogen.conditioning.text import TEXT_DIM
from audiogen.experiment import ExperimentConfig
from audiogen.generators import build_generator
from audiogen.train_config import LoopConfig
from audiogen.training.loop.blocks import blocks_of, prepare_blocks
from audiogen.types import Batch, Conditions, LatentSpec

TEXT_TOKENS = 32
"""Of the made-up prompt."""
BACKWARD = 3.0
"""Operations of a step over those of its forward pass (Kaplan et al. 2020, arXiv 2001.08361)."""
TOO_MUCH = (
    "TOO MUCH: more GPUs, train.activation_checkpointing=true, more accumulate, or"
    " train.parallel=fsdp for a generator"
)
BYTES_PER_PARAMETER = {"weights": 4, "gradients": 4, "optimizer": 8, "average": 4}
"""All in float32: AdamW has two moments (Muon one for its matrices); the average is the EMA."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What it is to run on.

    Attributes:
        gpus: over all nodes.
        memory_gb: of each, in 10^9 bytes.
        tflops: what each can do at best in the run's precision, 10^12 operations per second.
        utilisation: share of it that training reaches.
    """

    gpus: int = 1
    memory_gb: float = 80.0
    tflops: float = 989.0
    utilisation: float = 0.3


@dataclass(frozen=True, kw_only=True)
class Need:
    """What one stage needs, on each GPU.

    Attributes:
        parameters: that are trained.
        state_bytes: by kind: weights, gradients, optimizer, average; where these are split over the
            GPUs, also what is gathered of them at a time.
        activation_bytes: kept for the backward pass of a micro-batch.
        operations: of a step, on one GPU.
        items: of a micro-batch on one GPU.
    """

    parameters: int
    state_bytes: dict[str, int]
    activation_bytes: int
    operations: float
    items: int


def describe_plan(config: ExperimentConfig, machine: Machine) -> str:
    """Return lines on each stage of the recipe; nothing is written, and no sound is read.

    Raises:
        ValueError: a batch cannot be dealt to so many GPUs.
    """
    codec = build_codec(config.codec)
    lines = [
        f"{config.name} on {machine.gpus} GPU(s) of {machine.memory_gb:g} GB,"
        f" {machine.tflops:g} TFLOP/s at {machine.utilisation:.0%} (assumed)"
    ]
    if codec.trainable:
        need = _codec_need(codec, config, machine)
        lines += _lines("codec", need, config.train.codec.steps, machine)
    if config.generator is not None:
        need = _generator_need(config, codec.spec, machine)
        lines += _lines("generator", need, config.train.generator.steps, machine)
    lines += [
        "parameters are counted; activations and operations are measured on one item and scaled;",
        "time leaves out loading, the exchange between GPUs, and what is bound by memory (an FFT,",
        "a norm), of which a codec has much: take it as the least",
    ]
    return "\n".join(lines)


def _lines(stage: str, need: Need, steps: int, machine: Machine) -> list[str]:
    state = " + ".join(f"{name} {size / 1e9:.2f}" for name, size in need.state_bytes.items())
    total = (sum(need.state_bytes.values()) + need.activation_bytes) / 1e9
    # What libraries and fragments take comes on top.
    verdict = "fits" if total <= 0.9 * machine.memory_gb else TOO_MUCH
    per_day = 86400 * machine.tflops * 1e12 * machine.utilisation / need.operations
    return [
        f"{stage}: {need.parameters / 1e6:.1f} M parameters, {need.items} item(s) at once per GPU",
        f"  GB per GPU: {state} + activations about {need.activation_bytes / 1e9:.2f}"
        f" = {total:.2f}: {verdict}",
        f"  steps per day: at most {per_day:,.0f} ({need.operations / 1e12:.2f} TFLOP per step"
        f" and GPU); {steps:,} steps in at least {steps / per_day:.2f} days",
    ]


def _share(batch_size: int, parts: int, where: str) -> int:
    """Items of a part; ValueError when they do not divide."""
    if batch_size % parts:
        raise ValueError(
            f"{where}.batch_size={batch_size} is over all GPUs and micro-batches; it must be a"
            f" multiple of {parts}"
        )
    return batch_size // parts


def _codec_need(codec: Codec, config: ExperimentConfig, machine: Machine) -> Need:
    """Of the codec and its discriminators, when they have come in."""
    plan, spec = config.train.codec, codec.spec
    items = _share(plan.batch_size, machine.gpus, "train.codec")
    critic = Discriminators(plan.discriminators, spec.sample_rate)
    distance = SpectralDistance(plan.spectral, spec.sample_rate)
    length = spec.num_frames(plan.crop_seconds) * spec.hop_length
    wav = 0.1 * torch.randn(1, spec.audio_channels, length)
    views = draw_views(wav)

    def reconstruct() -> Tensor:
        output = codec(wav)
        distance(*(viewed(one, views) for one in (wav, *output.reconstructions)))
        return cast("Tensor", output.reconstructions[0])

    kept, operations = _probe(codec, config, reconstruct)
    rival_kept, rival_operations = _probe(critic, config, lambda: critic(viewed(wav, views)))
    is_rivalry = plan.adversarial_start < 1
    # The discriminators learn from two sounds; then they judge one, passing a gradient on.
    judged = (2 * BACKWARD + 2) * rival_operations if is_rivalry else 0
    trained = [*codec.parameters(), *(critic.parameters() if is_rivalry else ())]
    return Need(
        parameters=_count(trained),
        state_bytes=_state(trained, averaged=list(codec.parameters())),
        activation_bytes=items * (kept + 3 * rival_kept * is_rivalry),
        operations=items * (BACKWARD * operations + judged),
        items=items,
    )


def _generator_need(config: ExperimentConfig, spec: LatentSpec, machine: Machine) -> Need:
    plan = config.train.generator
    items = _share(plan.batch_size, machine.gpus * plan.accumulate, "train.generator")
    window = spec.num_frames(config.data.clip_seconds)
    if config.generator is None:
        raise ValueError("plan: the recipe has no generator")
    ranges = dict.fromkeys(CONTROL_NAMES, (1.0, 2.0))  # made up, as the batch is
    generator = build_generator(config.generator.with_ranges(ranges), spec, TEXT_DIM, window)
    batch = _made_up_batch(spec, window)
    kept, operations = _probe(generator, config, lambda: generator(batch))
    work = BACKWARD + (1 if config.train.activation_checkpointing else 0)
    trained = list(generator.parameters())
    state = _state(trained, averaged=trained)
    if config.train.parallel == "fsdp" and machine.gpus > 1:
        state = {name: size // machine.gpus for name, size in state.items()}
        state["gathered"] = _gathered(generator)
    return Need(
        parameters=_count(trained),
        state_bytes=state,
        activation_bytes=items * kept,
        operations=items * plan.accumulate * work * operations,
        items=items,
    )


def _count(parameters: list[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _state(trained: list[nn.Parameter], averaged: list[nn.Parameter]) -> dict[str, int]:
    counts = dict.fromkeys(BYTES_PER_PARAMETER, _count(trained))
    counts["average"] = _count(averaged)
    return {name: size * counts[name] for name, size in BYTES_PER_PARAMETER.items()}


def _gathered(module: nn.Module) -> int:
    """Bytes of whole weights and gradients at a time: of two blocks, and of all outside of them.

    While one block computes, the next one is gathered.
    """
    blocks = sorted(_count(list(block.parameters())) for block in blocks_of(module))
    outside = _count(list(module.parameters())) - sum(blocks)
    kinds = BYTES_PER_PARAMETER["weights"] + BYTES_PER_PARAMETER["gradients"]
    return kinds * (outside + sum(blocks[-2:]))


def _made_up_batch(spec: LatentSpec, window: int) -> Batch:
    shape = (1, spec.channels, window)
    return Batch(
        latents=torch.randn(shape) if spec.vocab_size is None else torch.zeros(shape).long(),
        mask=torch.ones(1, window, dtype=torch.bool),
        conditions=Conditions(
            text=torch.randn(1, TEXT_TOKENS, TEXT_DIM),
            text_mask=torch.ones(1, TEXT_TOKENS, dtype=torch.bool),
            pooled=torch.randn(1, TEXT_DIM),
            controls={name: torch.zeros(1) for name in CONTROL_RANGES},
        ),
    )


def _probe(
    module: nn.Module, config: ExperimentConfig, call: Callable[[], object]
) -> tuple[int, int]:
    """Bytes that a forward pass of one item keeps for the backward pass, and its operations.

    Where blocks are computed again, their inputs are kept, and of one block all that is inside.
    """
    module.train()
    weights = {parameter.data_ptr() for parameter in module.parameters()}
    precision = config.train.precision
    kept, operations = _measure(call, weights, precision)
    blocks = blocks_of(module)
    if config.train.activation_checkpointing and blocks:
        prepare_blocks(module, LoopConfig(activation_checkpointing=True))
        without_blocks, _ = _measure(call, weights, precision)
        kept = without_blocks + (kept - without_blocks) // len(blocks)
    return kept, operations


def _measure(call: Callable[[], object], weights: set[int], precision: str) -> tuple[int, int]:
    """Make a call, in bf16 unless fp32 is asked for; a tensor counts once, and weights do not."""
    seen, kept = set(weights), 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            kept += storage.nbytes()
        return tensor

    with (
        torch.autocast("cpu", torch.bfloat16, enabled=precision != "fp32"),
        saved_tensors_hooks(pack, lambda tensor: tensor),
        FlopCounterMode(display=False) as counter,
    ):
        result = call()  # what it returns holds what is kept, whose places must not be used again
    del result
    return kept, counter.get_total_flops()
