"""Memory and speed of the repeated blocks: recomputed in the backward pass, and compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from audiogen.nn.chance import hide_draws_from_compiler, recomputed
from audiogen.train_config import LoopConfig


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """The repeated blocks of a network, in the order of its modules.

    They are what it holds in a list called `blocks`, as Transformers and ConvNeXt stacks do.
    """
    lists = [part.blocks for part in module.modules() if hasattr(part, "blocks")]
    return [block for one in lists if isinstance(one, nn.ModuleList) for block in one]


def prepare_blocks(module: nn.Module, config: LoopConfig) -> None:
    """Give the blocks of `module` the forward pass that `config` asks for.

    Compiling block by block costs the time of one block, since they are alike. Weights and their
    names stay as they are.
    """
    if config.compile:
        hide_draws_from_compiler()
    for block in blocks_of(module):
        forward: Callable[..., Any] = block.forward
        if config.compile:
            forward = torch.compile(forward)
        if config.activation_checkpointing:
            forward = functools.partial(recomputed, forward)
        if forward is not block.forward:
            block.forward = forward
